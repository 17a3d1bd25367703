#include "layerstore/recipe/layer_tar.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "base/unique_fd.h"
#include "base/verity.h"
#include "base/xxh128.h"
#include "layerstore/archive/confined_tree.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/recipe/recipe_reader.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{128} * 1024;

class Replay {
 public:
  Replay(FileOps& ops, int layer_dir, const LayerTar::Sink& sink, const LayerTarOptions& options)
      : ops_(ops),
        tree_(ops, layer_dir),
        sink_(sink),
        options_(options),
        hashed_(options.verify && options.contents == LayerTarOptions::Contents::kRead),
        buffer_(kBufferBytes) {}

  Result<> Run(RecipeReader& recipe) {
    for (;;) {
      STRATA_TRY_ASSIGN(const bool more, recipe.Next());
      if (!more) break;
      STRATA_TRY(Give(recipe.record()));
    }
    if (hashed_ && !is_damaged_ && hash_.Finish() != recipe.diff_id()) {
      return Fail(EBADMSG, "make tar again", "it is not that of " + recipe.diff_id().ToString());
    }
    return {};
  }

 private:
  Result<> Give(const RecipeRecord& record) {
    if (record.kind == RecipeRecord::Kind::kLiteral) return Emit(record.literal);
    if (options_.contents == LayerTarOptions::Contents::kZeros) return GiveZeros(record);
    auto given = GiveContent(record);
    if (given) return given;
    if (options_.damaged && given.error().code() == EBADMSG) {
      options_.damaged(record.file, given.error());
      is_damaged_ = true;
      checksum_.Finish();  // starts anew
      return {};
    }
    return std::unexpected(
        std::move(given).error().WithContext("'" + ShownName(record.file) + "'"));
  }

  Result<> GiveZeros(const RecipeRecord& record) {
    for (const auto& extent : record.extents) {
      for (std::uint64_t left = extent.length; left > 0;) {
        const std::uint64_t count = std::min<std::uint64_t>(left, buffer_.size());
        STRATA_TRY(Emit({buffer_.data(), static_cast<std::size_t>(count)}));
        left -= count;
      }
    }
    return {};
  }

  Result<> GiveContent(const RecipeRecord& record) {
    STRATA_TRY_ASSIGN(const UniqueFd file, Open(record.file));
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(file.get()));
    if (!S_ISREG(st.st_mode)) return Changed("is no file");
    if (record.kind == RecipeRecord::Kind::kContent &&
        static_cast<std::uint64_t>(st.st_size) != record.extents.front().length) {
      return Changed("has another size");
    }
    for (const auto& extent : record.extents) STRATA_TRY(GiveExtent(file.get(), extent));
    if (checksum_.Finish() != record.checksum) return Changed("has another content");
    return {};
  }

  Result<> GiveExtent(int file, const RecipeRecord::Extent& extent) {
    std::uint64_t at = extent.offset;
    for (std::uint64_t left = extent.length; left > 0;) {
      const auto wanted = std::as_writable_bytes(std::span(buffer_).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_.size()))));
      const auto got = ops_.ReadAt(file, wanted, static_cast<off_t>(at));
      if (!got) return Unreadable(got.error());
      if (*got == 0) return Changed("is too short");
      const std::string_view bytes(buffer_.data(), *got);
      checksum_.Update(bytes);
      STRATA_TRY(Emit(bytes));
      at += *got;
      left -= *got;
    }
    return {};
  }

  Result<UniqueFd> Open(const std::string& path) {
    auto file = OpenFile(path);
    if (file) return file;
    const int code = file.error().code();
    if (code != ENOENT && code != ENOTDIR && code != ELOOP) return Unreadable(file.error());
    return Fail(EBADMSG, "make tar again", "it is not there");
  }

  // Reading a layer shall not write to it: no access times, where we are allowed to ask for that.
  Result<UniqueFd> OpenFile(const std::string& path) {
    constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
    constexpr std::uint64_t kResolve =
        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
    STRATA_TRY_ASSIGN(const int dir, tree_.Open(std::string(DirName(path))));
    const std::string name(BaseName(path));
    auto file = ops_.OpenConfined(dir, name.c_str(), kFlags | O_NOATIME, 0, kResolve);
    if (file || file.error().code() != EPERM) return file;
    return ops_.OpenConfined(dir, name.c_str(), kFlags, 0, kResolve);
  }

  // The disk has lost it, or other bytes are there than fs-verity guards: bit rot as any other.
  static std::unexpected<Error> Unreadable(const Error& error) {
    if (!IsDamage(error.code())) return Fail(error.code(), error.op(), std::string(error.detail()));
    return Fail(EBADMSG, "make tar again", "can not be read: " + error.ToString());
  }

  static std::unexpected<Error> Changed(const char* what) {
    return Fail(EBADMSG, "make tar again", what);
  }

  Result<> Emit(std::string_view bytes) {
    if (hashed_) hash_.Update(bytes);
    return sink_(bytes);
  }

  FileOps& ops_;
  ConfinedTree tree_;
  const LayerTar::Sink& sink_;
  const LayerTarOptions options_;
  const bool hashed_;
  std::vector<char> buffer_;
  bool is_damaged_ = false;
  Sha256 hash_;
  Xxh128Hasher checksum_;
};

}  // namespace

Result<> LayerTar::Write(FileOps& ops, int layer_dir, const Sink& sink,
                         const LayerTarOptions& options) {
  STRATA_TRY_ASSIGN(const auto recipe, RecipeReader::Open(ops, layer_dir));
  return Replay(ops, layer_dir, sink, options).Run(*recipe);
}

Result<> LayerTar::Verify(FileOps& ops, int layer_dir, const Digest& diff_id) {
  STRATA_TRY_ASSIGN(const auto recipe, RecipeReader::Open(ops, layer_dir));
  if (recipe->diff_id() != diff_id) {
    return Fail(
        EBADMSG, "verify layer",
        "the recipe is that of " + recipe->diff_id().ToString() + ", not " + diff_id.ToString());
  }
  const Sink drop = [](std::string_view) -> Result<> { return {}; };
  return Replay(ops, layer_dir, drop, {}).Run(*recipe);
}

}  // namespace strata::layerstore
