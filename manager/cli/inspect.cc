#include "manager/cli/inspect.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/template.h"

namespace strata::manager::cli {
namespace {

constexpr int kIndent = 4;

std::string PathOf(ObjectKind kind, const std::string& name) {
  switch (kind) {
    case ObjectKind::kContainer:
      return ContainerPath(name) + "/json";
    case ObjectKind::kImage:
      return "/images/" + PercentEncode(name, "/:") + "/json";
    case ObjectKind::kVolume:
      break;
  }
  return "/volumes/" + PercentEncode(name);
}

// The first kind that has the name; nothing if none does.
Result<std::optional<Json>> FindObject(Client& client, const std::string& name,
                                       std::initializer_list<ObjectKind> kinds) {
  for (const ObjectKind kind : kinds) {
    auto object = client.Get(PathOf(kind, name));
    if (object) return *std::move(object);
    // A name that is no legal one for this kind may be another's.
    const int code = object.error().code();
    if (code != ENOENT && code != EINVAL) return std::unexpected(std::move(object).error());
    if (kinds.size() == 1) return std::unexpected(std::move(object).error());
  }
  return std::nullopt;
}

}  // namespace

Result<int> InspectObjects(Client& client, const std::vector<std::string>& names,
                           std::initializer_list<ObjectKind> kinds, const std::string& format) {
  Json found = Json::array();
  const int status = ForEachOperand(names, [&](const std::string& name) -> Result<> {
    STRATA_TRY_ASSIGN(auto object, FindObject(client, name, kinds));
    if (!object) return Fail(ENOENT, kDaemonError, "no such object: " + name);
    found.push_back(*std::move(object));
    return {};
  });
  if (format.empty()) {
    Print(DumpJson(found, kIndent) + "\n");
    return status;
  }
  STRATA_TRY_ASSIGN(const Template shape,
                    Template::Parse(format == "json" ? "{{json .}}" : format));
  for (const Json& object : found) {
    STRATA_TRY_ASSIGN(const std::string text, shape.Render(object));
    Print(text + "\n");
  }
  return status;
}

}  // namespace strata::manager::cli
