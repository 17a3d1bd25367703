// What all handlers share: docker's error replies, JSON in and out, filters. Include from .cc files
// only.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "manager/api/exchange.h"

namespace strata::manager {

// Text with bytes that are not UTF-8 replaced.
std::string Dump(const nlohmann::json& value);
Result<> ReplyJson(Exchange& exchange, int status, const nlohmann::json& value);
Result<> ReplyNothing(Exchange& exchange, int status);  // 204, 304
// The status that stands for the error's code, and {"message": its text}.
int HttpStatusOf(const Error& error);
Result<> ReplyError(Exchange& exchange, const Error& error);

// The body as JSON; an empty one is null. EINVAL if it is no JSON, is nested absurdly deep, or its
// Content-Type says that it is something else.
Result<nlohmann::json> ReadJson(Exchange& exchange);

// docker's `filters`: {"status": ["running"]} or, from old clients, {"status": {"running": true}}.
class Filters {
 public:
  // EINVAL for bad JSON and for names not in `known`.
  static Result<Filters> Parse(const HttpRequest& request, const std::set<std::string>& known);

  bool Has(const std::string& name) const { return values_.contains(name); }
  const std::vector<std::string>& Values(const std::string& name) const;
  // Whether every label filter ("key", "key=value") holds.
  bool MatchLabels(const std::map<std::string, std::string>& labels) const;

 private:
  std::map<std::string, std::vector<std::string>> values_;
};

}  // namespace strata::manager
