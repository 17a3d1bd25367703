// Metadata index files: whatever their bytes, every question has an answer or an error.
#include <xxhash.h>

#include <cstring>

#include "layerstore/index/format.h"
#include "layerstore/index/layer_scan.h"
#include "layerstore/index/metadata_index.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"
#include "tests/support/files.h"
#include "tests/support/must.h"

namespace strata::fuzz {
namespace {

namespace format = layerstore::format;
using layerstore::MetadataIndex;
using support::Must;

template <class T>
void Drop(const Result<T>& result) {
  if (!result) Expect(result.error().code() != 0, "an error has a code");
}

// All of one directory; gives those in it.
void AskDirectory(const MetadataIndex& index, MetadataIndex::Directory directory) {
  Drop(index.EntryOf(directory));
  Drop(index.PathOf(directory));
  Drop(index.PathInLayer(directory, 0));
  Drop(index.Moves(directory));
  const auto names = index.List(directory);
  if (!names) return;
  constexpr std::uint32_t kMost = 200;
  for (std::uint32_t i = 0; i < names->count && i < kMost; ++i) {
    const auto entry = index.At(names->first + i);
    Drop(index.NameAt(names->first + i));
    if (!entry) continue;
    Drop(index.Find(directory, entry->name));
    Drop(index.PathInLayer(*entry));
    Expect(entry->target.size() <= index.bytes(), "a target is of the file");
  }
}

void AskAll(const MetadataIndex& index) {
  constexpr std::uint32_t kMost = 100;
  for (std::uint32_t i = 0; i <= index.directories() && i < kMost; ++i) AskDirectory(index, i);
  Drop(index.At(0xFFFFFFFFU));
  Drop(index.FindDirectory("d/e/f"));
  Drop(index.Find(MetadataIndex::kRoot, "nothing"));
  Drop(index.Verify());
}

template <class Number>
void Put(std::string& bytes, std::size_t at, Number number) {
  const format::Little<Number> little(number);
  std::memcpy(bytes.data() + at, &little, sizeof little);
}

std::string ReadBack(const char* name) {
  return support::ReadFile(Scratch::Get().path() + '/' + name);
}

}  // namespace

// The head's and the blocks', where the sizes still fit.
void Repair(std::string& input) {
  format::Header head;
  if (input.size() < sizeof head) return;
  std::memcpy(&head, input.data(), sizeof head);
  const std::uint64_t sums_at =
      sizeof head + head.layers * sizeof(format::LayerRecord) + head.paths;
  std::uint64_t body = head.directories * sizeof(format::DirectoryRecord) +
                       head.entries * sizeof(format::EntryRecord) +
                       head.moves * sizeof(format::MoveRecord);
  if (sums_at > input.size()) return;
  // What follows the records are strings, as many as there is room for.
  std::uint64_t blocks = (input.size() - sums_at) / (format::kBlock + sizeof(std::uint64_t)) + 1;
  const std::uint64_t body_at = sums_at + blocks * sizeof(std::uint64_t);
  if (body_at + body > input.size()) return;
  Put<std::uint64_t>(input, offsetof(format::Header, strings), input.size() - body_at - body);
  body = input.size() - body_at;
  for (std::uint64_t i = 0; i < (body + format::kBlock - 1) / format::kBlock; ++i) {
    const std::string_view block =
        std::string_view(input).substr(body_at + i * format::kBlock, format::kBlock);
    Put<std::uint64_t>(input, sums_at + i * sizeof(std::uint64_t),
                       XXH3_64bits(block.data(), block.size()));
  }
  Put<std::uint64_t>(input, offsetof(format::Header, checksum), 0);
  Put<std::uint64_t>(input, offsetof(format::Header, checksum), XXH3_64bits(input.data(), body_at));
}

void TryInput(std::string_view input) {
  Scratch& scratch = Scratch::Get();
  scratch.WriteFile("index", input);
  const UniqueFd dir = support::OpenFile(scratch.path(), O_RDONLY | O_DIRECTORY);
  FileOps& ops = FileOps::System();
  MetadataIndex::MarksOf(ops, dir.get(), "index");
  const auto index = MetadataIndex::Open(ops, dir.get(), "index");
  if (index) AskAll(**index);
}

std::vector<Input> Seeds() {
  Scratch& scratch = Scratch::Get();
  FileOps& ops = FileOps::System();
  const UniqueFd layer = scratch.FreshDirectory("layer");
  const std::string path = scratch.path() + "/layer";
  const auto scan = [&] {
    scratch.WriteFile("made", "");
    const UniqueFd file = support::OpenFile(scratch.path() + "/made", O_RDWR | O_TRUNC);
    const UniqueFd dir = support::OpenFile(scratch.path(), O_RDONLY | O_DIRECTORY);
    Must(layerstore::ScanLayer(ops, layer.get(), path, false, {file.get(), dir.get()}));
    return ReadBack("made");
  };
  std::vector<Input> seeds{{"empty", scan()}};
  support::MakeDir(path + "/d");
  support::MakeDir(path + "/d/e");
  support::WriteFile(path + "/d/e/f", "content");
  support::MakeWhiteout(path + "/gone");
  Must(ops.SymLink("target/of/link", layer.get(), "link"));
  Must(ops.Link(layer.get(), "d/e/f", layer.get(), "hard"));
  seeds.push_back({"tree", scan()});
  for (int i = 0; i < 100; ++i) {
    support::WriteFile(path + "/d/" + std::string(100, 'n') + std::to_string(i), "");
  }
  seeds.push_back({"names", scan()});
  return seeds;
}

}  // namespace strata::fuzz
