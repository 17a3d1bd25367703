// Finds the handler for a method and a path.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace strata::manager {

class Exchange;

// What the path's placeholders stand for.
using RouteParameters = std::map<std::string, std::string, std::less<>>;
// An error is turned into docker's error reply, unless the exchange is answered already.
using RouteHandler = std::function<Result<>(Exchange&, const RouteParameters&)>;

// Patterns are paths with "{name}" for one segment and at most one "{name...}" for one or more, as
// in "/images/{name...}/json". Routes are tried in the order added. Immutable after set-up;
// thread-safe then.
class Router {
 public:
  void Add(std::string method, std::string_view pattern, RouteHandler handler);

  struct Match {
    const RouteHandler* handler = nullptr;  // null: none
    RouteParameters parameters;
    bool other_method = false;  // the path exists, with other methods
  };
  // HEAD finds the GET route.
  Match Find(std::string_view method, std::string_view path) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;
    RouteHandler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace strata::manager
