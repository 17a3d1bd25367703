#include "manager/api/router.h"

#include <optional>

namespace strata::manager {
namespace {

std::vector<std::string_view> Segments(std::string_view path) {
  std::vector<std::string_view> segments;
  if (path.starts_with('/')) path.remove_prefix(1);
  while (true) {
    const std::size_t end = path.find('/');
    segments.push_back(path.substr(0, end));
    if (end == std::string_view::npos) return segments;
    path.remove_prefix(end + 1);
  }
}

bool IsPlaceholder(std::string_view segment) {
  return segment.starts_with('{') && segment.ends_with('}');
}

bool IsGreedy(std::string_view segment) {
  return IsPlaceholder(segment) && segment.ends_with("...}");
}

std::string Name(std::string_view segment) {
  const std::size_t tail = IsGreedy(segment) ? 5 : 2;
  return std::string(segment.substr(1, segment.size() - tail));
}

std::optional<RouteParameters> MatchSegments(const std::vector<std::string>& pattern,
                                             const std::vector<std::string_view>& path) {
  if (path.size() < pattern.size()) return std::nullopt;
  RouteParameters parameters;
  std::size_t at = 0;
  for (const auto& segment : pattern) {
    if (IsGreedy(segment)) {
      const std::size_t take = path.size() - pattern.size() + 1;
      std::string value;
      for (std::size_t i = 0; i < take; ++i) {
        if (path[at + i].empty()) return std::nullopt;
        value.append(i > 0 ? "/" : "").append(path[at + i]);
      }
      parameters[Name(segment)] = std::move(value);
      at += take;
    } else if (IsPlaceholder(segment)) {
      if (path[at].empty()) return std::nullopt;
      parameters[Name(segment)] = std::string(path[at++]);
    } else if (path[at++] != segment) {
      return std::nullopt;
    }
  }
  if (at != path.size()) return std::nullopt;
  return parameters;
}

}  // namespace

void Router::Add(std::string method, std::string_view pattern, RouteHandler handler) {
  Route route{std::move(method), {}, std::move(handler)};
  for (const auto segment : Segments(pattern)) route.segments.emplace_back(segment);
  routes_.push_back(std::move(route));
}

Router::Match Router::Find(std::string_view method, std::string_view path) const {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const auto segments = Segments(path);
  Match match;
  for (const auto& route : routes_) {
    auto parameters = MatchSegments(route.segments, segments);
    if (!parameters) continue;
    if (route.method != method && !(method == "HEAD" && route.method == "GET")) {
      match.other_method = true;
      continue;
    }
    match.handler = &route.handler;
    match.parameters = std::move(*parameters);
    return match;
  }
  return match;
}

}  // namespace strata::manager
