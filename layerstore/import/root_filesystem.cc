// A tar of a root filesystem, which becomes an image of one layer.
#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "base/try.h"
#include "base/unique_fd.h"
#include "layerstore/import/importer.h"
#include "layerstore/oci/timestamp.h"

namespace strata::layerstore {
namespace {

constexpr std::string_view kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The first of these that the filesystem has; resolved inside of it, as /bin is often a link.
Result<std::string> DefaultCommand(FileOps& ops, const std::string& fs) {
  constexpr std::array kShells = {"/bin/bash", "/bin/sh"};
  STRATA_TRY_ASSIGN(const UniqueFd root, ops.Open(AT_FDCWD, fs.c_str(), O_PATH | O_DIRECTORY));
  for (const char* shell : kShells) {
    const auto found =
        ops.OpenConfined(root.get(), shell, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (found) return std::string(shell);
  }
  return std::string();
}

Result<ImageConfig> CompleteConfig(const ImportContext& context, const Digest& diff_id) {
  ImageConfig config = context.options.config;
  config.diff_ids = {diff_id};
  if (config.created.empty()) config.created = FormatRfc3339(std::time(nullptr));
  if (config.platform.os.empty()) config.platform = context.options.platform;
  const bool path = std::ranges::any_of(
      config.env, [](const std::string& entry) { return entry.starts_with("PATH="); });
  if (!path) config.env.insert(config.env.begin(), std::string(kDefaultPath));
  if (config.cmd.empty() && config.entrypoint.empty()) {
    STRATA_TRY_ASSIGN(const LayerInfo layer, context.store.layers().Find(diff_id));
    STRATA_TRY_ASSIGN(std::string shell, DefaultCommand(context.store.ops(), layer.path));
    if (!shell.empty()) config.cmd.push_back(std::move(shell));
  }
  config.history.push_back({config.created, "", "", context.options.comment, false});
  return config;
}

}  // namespace

Result<ImportedImage> ImportRootFilesystem(const ImportContext& context, const Feed& feed) {
  STRATA_TRY_ASSIGN(Descriptor layer, ImportLayer(context, {}, feed));
  STRATA_TRY_ASSIGN(const LayerBlob blob, context.store.layers().FindBlob(layer.digest));
  STRATA_TRY_ASSIGN(const ImageConfig config, CompleteConfig(context, blob.diff_id));
  STRATA_TRY_ASSIGN(const auto names, NamesFor(context, {}));
  return PutWithManifest(context, config.ToJson(), {std::move(layer)}, names);
}

}  // namespace strata::layerstore
