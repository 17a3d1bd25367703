#include "tests/conformance/posix/suite.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <set>
#include <sstream>
#include <stdexcept>

#include "base/unique_fd.h"
#include "tests/conformance/posix/differences.h"
#include "tests/conformance/posix/machine.h"
#include "tests/support/files.h"
#include "tests/support/must.h"

namespace strata::conformance {
namespace {

using support::MustCall;

// Most of a case's time goes into waiting for the clock to move on.
constexpr std::size_t kAtOnce = 12;
constexpr unsigned kSecondsPerCase = 60;

const std::vector<Line>& Lines(const Script& script, Part part) {
  return part == Part::kSetup ? script.setup : script.body;
}

void Act(const Script& script, Part part, const std::string& directory, int output) {
  const auto write = [output](const std::string& text) {
    const std::string line = text + "\n";
    if (::write(output, line.data(), line.size()) != static_cast<ssize_t>(line.size())) ::_exit(2);
  };
  ::signal(SIGXFSZ, SIG_IGN);
  ::alarm(kSecondsPerCase);
  ::umask(part == Part::kSetup ? 0 : 022);
  if (::chdir(directory.c_str()) != 0) return write("no directory: " + ErrnoName(errno));
  Machine machine;
  for (const Line& line : Lines(script, part)) {
    try {
      write(machine.Run(line));
    } catch (const std::exception& mistake) {
      return write(std::string("mistake in the case: ") + mistake.what());
    }
  }
}

struct Child {
  const Script* script;
  pid_t pid;
  UniqueFd output;
};

Child StartCase(const Script& script, const std::string& base, Part part) {
  const std::string directory = base + "/" + script.name;
  if (!support::Exists(directory)) {
    support::MakeDir(directory);
    MustCall(::chmod(directory.c_str(), 0777), "chmod");
  }
  int ends[2];
  MustCall(::pipe2(ends, O_CLOEXEC), "pipe2");
  UniqueFd read(ends[0]);
  const UniqueFd write(ends[1]);
  const pid_t pid = MustCall(::fork(), "fork");
  if (pid == 0) {
    Act(script, part, directory, write.get());
    ::_exit(0);
  }
  return {&script, pid, std::move(read)};
}

Transcript FinishCase(const Child& child) {
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(child.output.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  Transcript transcript;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) transcript.push_back(line);
  int status = 0;
  MustCall(::waitpid(child.pid, &status, 0), "waitpid");
  if (WIFSIGNALED(status)) {
    transcript.push_back(std::string("killed by ") + ::strsignal(WTERMSIG(status)));
  }
  return transcript;
}

// What a line gave, without what it changed of the watched files.
std::string_view ResultOf(std::string_view text) { return text.substr(0, text.find(" {")); }

std::string Where(const Script& script, const Line& line) {
  return script.file + ":" + std::to_string(line.number) + ": " + script.name + ": " + line.text;
}

const std::string& ResultAt(const Transcripts& results, const Script& script, std::size_t index) {
  static const std::string kMissing = "not run";
  const auto found = results.find(script.name);
  return found != results.end() && index < found->second.size() ? found->second[index] : kMissing;
}

}  // namespace

Transcripts RunScripts(const std::vector<Script>& scripts, const std::string& base, Part part) {
  Transcripts results;
  std::deque<Child> running;
  const auto finish_first = [&] {
    results[running.front().script->name] = FinishCase(running.front());
    running.pop_front();
  };
  for (const Script& script : scripts) {
    if (running.size() == kAtOnce) finish_first();
    running.push_back(StartCase(script, base, part));
  }
  while (!running.empty()) finish_first();
  return results;
}

std::vector<std::string> Unexpected(const std::vector<Script>& scripts, const Transcripts& results,
                                    Part part) {
  std::vector<std::string> found;
  for (const Script& script : scripts) {
    const auto& lines = Lines(script, part);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string& text = ResultAt(results, script, i);
      const std::string_view result = ResultOf(text);
      const bool lost = text == "not run" || text.starts_with("mistake") ||
                        text.starts_with("killed") || text.starts_with("no directory");
      const bool good = lines[i].expected.empty()
                            ? !IsErrnoName(result)
                            : result == lines[i].expected || text == lines[i].expected;
      if (lost || !good) {
        found.push_back(Where(script, lines[i]) + "\n    expected: " +
                        (lines[i].expected.empty() ? "success" : lines[i].expected) +
                        "\n    got:      " + text);
      }
      if (lost) break;
    }
  }
  return found;
}

std::vector<std::string> Compare(const std::vector<Script>& scripts, const Transcripts& native,
                                 const Transcripts& mount, std::string_view variant) {
  const std::string name(variant);
  std::vector<const Difference*> known;
  for (const Difference& difference : KnownDifferences()) {
    if (::fnmatch(std::string(difference.variant).c_str(), name.c_str(), FNM_EXTMATCH) == 0) {
      known.push_back(&difference);
    }
  }
  std::set<const Difference*> met;
  std::vector<std::string> found;
  for (const Script& script : scripts) {
    for (std::size_t i = 0; i < script.body.size(); ++i) {
      const Line& line = script.body[i];
      const std::string& here = ResultAt(mount, script, i);
      const std::string& there = ResultAt(native, script, i);
      const auto entry = std::ranges::find_if(known, [&](const Difference* difference) {
        return difference->name == script.name &&
               (difference->line == line.text || difference->line == "*");
      });
      const bool is_known = entry != known.end() && here != there &&
                            ((*entry)->mount == here || (*entry)->line == "*");
      if (is_known) met.insert(*entry);
      if (here == there || is_known) continue;
      found.push_back(Where(script, line) + "\n    native: " + there + "\n    mount:  " + here);
    }
  }
  for (const Difference* difference : known) {
    const bool ran = std::ranges::any_of(
        scripts, [&](const Script& script) { return script.name == difference->name; });
    if (ran && !met.contains(difference)) {
      found.push_back("differences.cc: no longer true: " + std::string(difference->name) + ": " +
                      std::string(difference->line));
    }
  }
  return found;
}

}  // namespace strata::conformance
