// Entries of a layer's tar. Whatever they are: nothing outside of the layer is touched, and what is
// taken gives a recipe that makes the same tar again, and an index that can be read.
#include <sys/stat.h>

#include <algorithm>

#include "base/digest.h"
#include "base/try.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/chain/layer_index.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/recipe/recipe_writer.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::fuzz {
namespace {

using layerstore::UnpackLimits;
using support::Must;
using support::TarBuilder;

constexpr std::size_t kBlock = 512;
constexpr std::size_t kSumAt = 148;
constexpr std::size_t kSumWidth = 8;

// Low, so that they are met; few pending directories, so that some are finished early.
constexpr UnpackLimits kLimits{.entries = 300,
                               .total_bytes = 1U << 20U,
                               .path_depth = 60,
                               .path_bytes = 4096,
                               .name_bytes = 1U << 16U,
                               .xattrs = 20,
                               .xattr_bytes = 4096,
                               .kept_bytes = 4096,
                               .pending_directories = 3};

// What stands beside the layer, and what its links and names may try to reach.
class Canary {
 public:
  Canary() : path_(Scratch::Get().path() + "/canary") {
    support::MakeDir(path_);
    support::WriteFile(path_ + "/file", "untouched");
    directory_ = support::Lstat(path_);
    file_ = support::Lstat(path_ + "/file");
  }

  void ExpectUntouched() const {
    Expect(Same(directory_, support::Lstat(path_)), "the directory beside the layer is untouched");
    Expect(Same(file_, support::Lstat(path_ + "/file")), "the file beside the layer is untouched");
    Expect(support::List(Scratch::Get().path()) == std::vector<std::string>{"canary", "layer"},
           "nothing is made beside the layer");
  }

 private:
  // Every change of a file changes its ctime.
  static bool Same(const struct stat& a, const struct stat& b) {
    return a.st_ino == b.st_ino && a.st_ctim.tv_sec == b.st_ctim.tv_sec &&
           a.st_ctim.tv_nsec == b.st_ctim.tv_nsec && a.st_nlink == b.st_nlink;
  }

  std::string path_;
  struct stat directory_ = {};
  struct stat file_ = {};
};

Result<layerstore::UnpackedInodes> Unpack(FileOps& ops, int layer, std::string_view tar) {
  STRATA_TRY(ops.MakeDir(layer, "fs", 0755));
  STRATA_TRY_ASSIGN(const UniqueFd fs, ops.Open(layer, "fs", O_RDONLY | O_DIRECTORY));
  STRATA_TRY_ASSIGN(const auto recipe, layerstore::RecipeWriter::Create(ops, layer, kLimits));
  // Pieces of every size, but the same ones for the same input.
  const std::size_t piece = 1 + tar.size() * 37 % 3000;
  std::string held;
  std::string_view rest = tar;
  layerstore::TarReader reader(
      [&]() -> Result<std::string_view> {
        held = std::string(rest.substr(0, piece));
        rest.remove_prefix(held.size());
        return held;
      },
      [&](std::string_view bytes) { return recipe->Literal(bytes); });
  layerstore::Unpacker unpacker(ops, fs.get(), kLimits, recipe.get());
  STRATA_TRY(unpacker.Run(reader));
  STRATA_TRY(reader.ReadRest());
  STRATA_TRY(recipe->Finish(Digest::Of(tar)));
  return unpacker.TakeInodes();
}

void PutSum(std::string& input, std::size_t at) {
  std::fill_n(input.begin() + static_cast<std::ptrdiff_t>(at + kSumAt), kSumWidth, ' ');
  unsigned sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(input[at + i]);
  for (std::size_t i = 0; i < kSumWidth - 2; ++i) {
    input[at + kSumAt + kSumWidth - 3 - i] = static_cast<char>('0' + ((sum >> (3 * i)) & 7U));
  }
  input[at + kSumAt + kSumWidth - 2] = '\0';
}

}  // namespace

// Those of all blocks that look like headers.
void Repair(std::string& input) {
  for (std::size_t at = 0; at + kBlock <= input.size(); at += kBlock) {
    if (input.compare(at + 257, 5, "ustar") == 0) PutSum(input, at);
  }
}

void TryInput(std::string_view input) {
  static const Canary canary;
  FileOps& ops = FileOps::System();
  const UniqueFd layer = Scratch::Get().FreshDirectory("layer");
  const auto inodes = Unpack(ops, layer.get(), input);
  canary.ExpectUntouched();
  if (!inodes) {
    Expect(!inodes.error().detail().empty() || inodes.error().code() != 0, "an error says why");
    return;
  }
  const auto again = layerstore::LayerTar::Verify(ops, layer.get(), Digest::Of(input));
  Expect(again.has_value(), again ? "" : "the tar comes back: " + again.error().ToString());
  const auto indexed = layerstore::WriteLayerIndex(ops, layer.get(), *inodes);
  Expect(indexed.has_value(), indexed ? "" : "there is an index: " + indexed.error().ToString());
  const auto index = layerstore::MetadataIndex::Open(ops, layer.get(), "index");
  Expect(index.has_value() && (*index)->Verify().has_value(), "the index can be read");
}

std::vector<Input> Seeds() {
  std::vector<Input> seeds;
  const auto add = [&](const char* name, const TarBuilder& tar) {
    seeds.push_back({name, tar.Finish()});
  };
  add("kinds", TarBuilder()
                   .AddDirectory("./")
                   .AddDirectory("d", 01777)
                   .AddFile("d/f", "content")
                   .Add({.name = "d/s", .type = '2', .link = "/etc/passwd"})
                   .Add({.name = "h", .type = '1', .link = "d/f"})
                   .Add({.name = "absolute", .type = '1', .link = "/d/f"})
                   .Add({.name = "null", .type = '3', .major = 1, .minor = 3})
                   .Add({.name = "loop", .type = '4', .major = 7, .minor = 1})
                   .Add({.name = "fifo", .type = '6'}));
  add("whiteouts", TarBuilder()
                       .AddFile("d/.wh.gone", "")
                       .AddFile("d/.wh..wh..opq", "")
                       .AddFile(".wh..wh.plnk", "")
                       .AddFile(".wh.d2", "")
                       .AddFile("d2/f", "f"));
  add("late-links", TarBuilder()
                        .Add({.name = "a", .type = '1', .link = "b"})
                        .Add({.name = "b", .type = '1', .link = "c"})
                        .AddFile("c", "c")
                        .Add({.name = "x", .type = '1', .link = "x"}));
  add("replaced", TarBuilder()
                      .AddFile("f", "first")
                      .AddFile("f", "second")
                      .AddFile("d/a/b", "b")
                      .AddFile("d", "file")
                      .AddFile("g", "file")
                      .AddFile("g/below", "x"));
  add("pax", TarBuilder()
                 .Add({.name = "f",
                       .content = "x",
                       .pax = {{"path", std::string(120, 'p')},
                               {"mtime", "-1.5"},
                               {"atime", "1034567890.987654321"},
                               {"uid", "70000"},
                               {"size", "1"},
                               {"SCHILY.xattr.user.note", "value"},
                               {"SCHILY.xattr.trusted.overlay.opaque", "y"},
                               {"SCHILY.acl.access",
                                "user::rwx,user:1:r--,group::r--,mask::r--,"
                                "other::---"}}})
                 .Add({.name = "d/", .type = '5', .pax = {{"SCHILY.acl.default", "user::rwx"}}}));
  add("out", TarBuilder()
                 .AddFile("../canary/file", "owned")
                 .AddFile("../../canary/file", "owned")
                 .AddFile("/etc/strata-fuzz", "owned"));
  add("through-link", TarBuilder()
                          .Add({.name = "l", .type = '2', .link = "../../canary"})
                          .AddFile("l/file", "owned"));
  add("whiteout-through-link", TarBuilder()
                                   .Add({.name = "l", .type = '2', .link = "../../canary"})
                                   .AddFile("l/.wh.file", "")
                                   .AddFile("l/.wh..wh..opq", ""));
  add("link-through-link", TarBuilder()
                               .Add({.name = "l", .type = '2', .link = "../../canary"})
                               .Add({.name = "h", .type = '1', .link = "l/file"})
                               .Add({.name = "h", .content = "owned"}));
  add("many-directories", TarBuilder()
                              .AddDirectory("a")
                              .AddDirectory("b")
                              .AddDirectory("c")
                              .AddDirectory("d")
                              .AddFile("a/x", "x")
                              .AddFile("e/e/e/e", "x"));
  return seeds;
}

}  // namespace strata::fuzz
