// The JSON forms of container types: docker's API objects, which the database keeps as they are.
// The one header of this folder that shows a third-party type; include it from .cc files only.
#pragma once

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "manager/container/types.h"

namespace strata::manager {

// From a client. Unknown fields are ignored, null is the same as absent; EINVAL with the field's
// name for a wrong type or a value that makes no sense.
Result<ContainerConfig> ParseContainerConfig(const nlohmann::json& object);
Result<HostConfig> ParseHostConfig(const nlohmann::json& object);
Result<ExecConfig> ParseExecConfig(const nlohmann::json& object);

nlohmann::json ToJson(const ContainerConfig& config);
nlohmann::json ToJson(const HostConfig& host);
nlohmann::json ToJson(const MountPoint& mount);

// The whole record, for the database.
std::string RecordToText(const ContainerRecord& record);
Result<ContainerRecord> RecordFromText(const std::string& text);

// Unix nanoseconds as RFC 3339 with nine digits, UTC; "0001-01-01T00:00:00Z" for 0, as docker
// writes "never".
std::string TimeText(std::int64_t ns);

}  // namespace strata::manager
