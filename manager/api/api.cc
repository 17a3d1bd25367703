#include "manager/api/api.h"

#include <exception>

#include "base/logging.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"

namespace strata::manager {
namespace {

std::string VersionProblem(const HttpRequest& request) {
  const std::string asked =
      std::to_string(request.api_major) + '.' + std::to_string(request.api_minor);
  if (request.api_major < kApiMajor ||
      (request.api_major == kApiMajor && request.api_minor < kApiMinorMin)) {
    return "client version " + asked + " is too old. Minimum supported API version is " +
           ApiVersionText(kApiMinorMin) + ", please upgrade your client to a newer version";
  }
  if (request.api_major > kApiMajor || request.api_minor > kApiMinorMax) {
    return "client version " + asked + " is too new. Maximum supported API version is " +
           ApiVersionText(kApiMinorMax);
  }
  return {};
}

Result<> Answer(const Router& router, Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  if (const std::string problem = VersionProblem(request); !problem.empty()) {
    return ReplyJson(exchange, 400, {{"message", problem}});
  }
  const Router::Match match = router.Find(request.method, request.path);
  if (match.handler == nullptr) {
    return match.other_method ? ReplyJson(exchange, 405, {{"message", "method not allowed"}})
                              : ReplyJson(exchange, 404, {{"message", "page not found"}});
  }
  return (*match.handler)(exchange, match.parameters);
}

}  // namespace

void HandleRequest(const Router& router, Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  log::Debug("request", {{"method", request.method}, {"target", request.target}});
  Result<> answered;
  try {
    answered = Answer(router, exchange);
  } catch (const std::exception& exception) {
    // Third-party code (JSON, the standard library) that ran out of something.
    answered = Fail(EIO, "request", std::string(exception.what()));
  }
  if (answered) return;
  log::Debug("request failed",
             {{"target", request.target}, {"error", answered.error().ToString()}});
  if (!exchange.answered()) {
    Ignore(ReplyError(exchange, answered.error()), "the client is gone");
  } else {
    exchange.Abandon();
  }
}

}  // namespace strata::manager
