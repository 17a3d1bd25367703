#include "manager/container/commit_request.h"

#include <algorithm>
#include <string_view>

#include "base/try.h"
#include "manager/image/config_changes.h"

namespace strata::manager {
namespace {

using layerstore::EnvName;
using layerstore::ImageConfig;

// What both kinds of configuration say.
ImageConfig FromContainer(const ContainerConfig& config) {
  ImageConfig image;
  image.user = config.user;
  image.exposed_ports = config.exposed_ports;
  image.env = config.env;
  image.entrypoint = config.entrypoint.value_or(std::vector<std::string>());
  image.cmd = config.cmd.value_or(std::vector<std::string>());
  image.volumes = config.volumes;
  image.working_dir = config.working_dir;
  image.labels = config.labels;
  image.stop_signal = config.stop_signal;
  image.stop_timeout = config.stop_timeout;
  return image;
}

void AddMissing(std::vector<std::string>& into, const std::vector<std::string>& from) {
  for (const std::string& item : from) {
    if (std::ranges::find(into, item) == into.end()) into.push_back(item);
  }
}

// Where `config` says nothing, what `container` says.
void FillFrom(ImageConfig& config, const ImageConfig& container) {
  if (config.user.empty()) config.user = container.user;
  AddMissing(config.exposed_ports, container.exposed_ports);
  for (const std::string& entry : container.env) {
    const bool there = std::ranges::any_of(
        config.env, [&](const std::string& own) { return EnvName(own) == EnvName(entry); });
    if (!there) config.env.push_back(entry);
  }
  if (config.entrypoint.empty()) {
    if (config.cmd.empty()) config.cmd = container.cmd;
    config.entrypoint = container.entrypoint;
  }
  AddMissing(config.volumes, container.volumes);
  if (config.working_dir.empty()) config.working_dir = container.working_dir;
  for (const auto& [key, value] : container.labels) config.labels.try_emplace(key, value);
  if (config.stop_signal.empty()) config.stop_signal = container.stop_signal;
  if (!config.stop_timeout) config.stop_timeout = container.stop_timeout;
}

}  // namespace

Result<ImageConfig> CommittedConfig(const ImageConfig& image, const ContainerRecord& container,
                                    const CommitRequest& request) {
  const ImageConfig own = FromContainer(container.config);
  ImageConfig config = request.config ? FromContainer(*request.config) : own;
  config.shell = image.shell;
  STRATA_TRY(ApplyConfigChanges(request.changes, config));
  FillFrom(config, own);
  // docker's defaults for every container are no image's own words.
  if (config.working_dir == "/") config.working_dir = image.working_dir;
  if (config.stop_signal == "SIGTERM" && image.stop_signal.empty()) config.stop_signal.clear();
  config.platform = image.platform;
  config.health_check = image.health_check;
  config.author = request.author;
  config.diff_ids = image.diff_ids;
  config.history = image.history;
  return config;
}

}  // namespace strata::manager
