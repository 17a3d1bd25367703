// A target without libFuzzer:
//   NAME_fuzz_replay [--mutations=N] [--seconds=S] [--seed=N] [FILE|DIRECTORY]...
//     tries the seeds, the files, and N changed ones of both; stops early after S seconds
//   NAME_fuzz_replay --write-seeds=DIRECTORY [FILE|DIRECTORY]...
//     writes the seeds and what the others have as files, for libFuzzer to begin with
//   NAME_fuzz_replay --write-pack=FILE.pack [FILE|DIRECTORY]...
//     writes all of these, without the seeds, as one file
// A file named *.pack holds many inputs: of each its length (u32, little endian), then its bytes.
// The input that is being tried when the process dies is in ./NAME_fuzz_replay.crash.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/little.h"
#include "base/logging.h"
#include "tests/fuzz/mutator.h"
#include "tests/fuzz/target.h"
#include "tests/support/files.h"

namespace strata::fuzz {
namespace {

struct Options {
  std::uint64_t mutations = 0;
  std::uint64_t seconds = 3600;
  std::uint64_t seed = 1;
  std::string write_seeds;
  std::string write_pack;
  std::vector<std::string> paths;
};

// For the signal handler.
const std::string* current = nullptr;
const char* crash_file = nullptr;

void KeepInput(int signal) {
  const int fd = ::open(crash_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool kept =
      fd >= 0 && current != nullptr && ::write(fd, current->data(), current->size()) >= 0;
  constexpr char kKept[] = "the input is in the .crash file\n";
  if (!kept || ::write(STDERR_FILENO, kKept, sizeof kKept - 1) < 0) ::_exit(128 + signal);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

bool TakeNumber(const std::string& word, const std::string& name, std::uint64_t& number) {
  if (!word.starts_with(name)) return false;
  const char* end = word.data() + word.size();
  const auto read = std::from_chars(word.data() + name.size(), end, number);
  Expect(read.ec == std::errc() && read.ptr == end, word + " has a number");
  return true;
}

Options ParseOptions(int count, char** words) {
  constexpr std::string_view kWriteSeeds = "--write-seeds=";
  constexpr std::string_view kWritePack = "--write-pack=";
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (TakeNumber(word, "--mutations=", options.mutations) ||
        TakeNumber(word, "--seconds=", options.seconds) ||
        TakeNumber(word, "--seed=", options.seed)) {
      continue;
    }
    if (word.starts_with(kWriteSeeds)) {
      options.write_seeds = word.substr(kWriteSeeds.size());
    } else if (word.starts_with(kWritePack)) {
      options.write_pack = word.substr(kWritePack.size());
    } else {
      Expect(!word.starts_with("--"), word + " is an option");
      options.paths.push_back(word);
    }
  }
  return options;
}

using Length = Little<std::uint32_t>;

std::string Packed(const std::vector<Input>& inputs) {
  std::string pack;
  for (const Input& input : inputs) {
    const Length length(static_cast<std::uint32_t>(input.bytes.size()));
    pack.append(reinterpret_cast<const char*>(&length), sizeof length).append(input.bytes);
  }
  return pack;
}

void AddPacked(const std::string& path, std::vector<Input>& inputs) {
  const std::string pack = support::ReadFile(path);
  for (std::string_view rest = pack; !rest.empty();) {
    Length length;
    Expect(rest.size() >= sizeof length, path + " is a pack");
    std::memcpy(&length, rest.data(), sizeof length);
    rest.remove_prefix(sizeof length);
    Expect(rest.size() >= length, path + " is a whole pack");
    inputs.push_back(
        {"packed" + std::to_string(inputs.size()), std::string(rest.substr(0, length))});
    rest.remove_prefix(length);
  }
}

void AddFiles(const std::string& path, std::vector<Input>& inputs) {
  if (std::filesystem::is_directory(path)) {
    for (const std::string& name : support::List(path)) AddFiles(path + '/' + name, inputs);
  } else if (path.ends_with(".pack")) {
    AddPacked(path, inputs);
  } else {
    inputs.push_back({std::filesystem::path(path).filename().string(), support::ReadFile(path)});
  }
}

void Try(const std::string& bytes) {
  current = &bytes;
  TryInput(bytes);
  current = nullptr;
}

int Replay(const Options& options, const std::vector<Input>& inputs) {
  for (const Input& input : inputs) Try(input.bytes);

  const auto start = std::chrono::steady_clock::now();
  Mutator mutator(inputs, options.seed);
  std::uint64_t tried = 0;
  for (; tried < options.mutations; ++tried) {
    if (std::chrono::steady_clock::now() - start > std::chrono::seconds(options.seconds)) break;
    std::string changed = mutator.Next();
    if (tried % 16 != 0) Repair(changed);
    Try(changed);
  }
  std::printf("%zu inputs, %llu changed ones\n", inputs.size(),
              static_cast<unsigned long long>(tried));
  return 0;
}

int Run(int count, char** words) {
  const Options options = ParseOptions(count, words);
  log::Configure("fuzz", log::Level::kOff, log::Format::kText);
  std::vector<Input> given;
  for (const std::string& path : options.paths) AddFiles(path, given);
  if (!options.write_pack.empty()) {
    support::WriteFile(options.write_pack, Packed(given));
    return 0;
  }
  std::vector<Input> inputs = Seeds();
  Expect(!inputs.empty(), "there are seeds");
  std::ranges::move(given, std::back_inserter(inputs));
  if (!options.write_seeds.empty()) {
    std::filesystem::create_directories(options.write_seeds);
    for (const Input& input : inputs) {
      support::WriteFile(options.write_seeds + '/' + input.name, input.bytes);
    }
    return 0;
  }
  const std::string crash = std::filesystem::path(words[0]).filename().string() + ".crash";
  crash_file = crash.c_str();
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, KeepInput);
  return Replay(options, inputs);
}

}  // namespace
}  // namespace strata::fuzz

int main(int argc, char** argv) {
  try {
    return strata::fuzz::Run(argc, argv);
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "%s\n", exception.what());
    return 1;
  }
}
