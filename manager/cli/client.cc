#include "manager/cli/client.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/try.h"
#include "manager/cli/flags.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kMaxAnswer = 256UL * 1024 * 1024;

// System calls about files, in words.
constexpr std::pair<std::string_view, const char*> kCalls[] = {
    {"openat", "open"},  {"openat2", "open"},   {"read", "read"},       {"write", "write"},
    {"fsync", "write"},  {"mkdirat", "make"},   {"fstatat", "look at"}, {"getdents64", "read"},
    {"linkat", "write"}, {"renameat2", "write"}};

int CodeOfStatus(int status) {
  switch (status) {
    case 304:
      return EALREADY;
    case 400:
      return EINVAL;
    case 401:
    case 403:
      return EACCES;
    case 404:
      return ENOENT;
    case 409:
      return EEXIST;
    case 501:
      return ENOSYS;
    default:
      return EIO;
  }
}

// {"message": "…"} for every daemon that speaks this API; anything else is shown as it came.
Error ErrorOfAnswer(HttpExchange& exchange) {
  constexpr std::size_t kMaxMessage = 1UL * 1024 * 1024;
  const int status = exchange.head().status;
  std::string message;
  if (auto body = exchange.ReadAll(kMaxMessage)) {
    const auto json = ParseJson(*body);
    message = json ? TextAt(*json, "message") : *body;
  }
  while (message.ends_with('\n') || message.ends_with('\r')) message.pop_back();
  if (message.empty()) {
    message = "the daemon answered " + std::to_string(status) + " " + exchange.head().reason;
  }
  return Error(CodeOfStatus(status), kDaemonError, std::move(message));
}

std::string HostHeader(const Endpoint& endpoint) {
  return endpoint.kind == Endpoint::Kind::kUnix ? "strata" : endpoint.ToString().substr(6);
}

HttpRequest JsonRequest(std::string method, const std::string& target, const Json& body) {
  HttpRequest request;
  request.method = std::move(method);
  request.target = target;
  request.body = DumpJson(body);
  request.content_type = "application/json";
  return request;
}

}  // namespace

std::string Explain(const Error& error) {
  const std::string_view op = error.op();
  if (op == kDaemonError || op == kUsageError || op == kInputError)
    return std::string(error.detail());
  for (const auto& [call, verb] : kCalls) {
    if (op != call || error.detail().empty()) continue;
    return std::string("cannot ") + verb + " " + std::string(error.detail()) + ": " +
           Error(error.code()).ToString();
  }
  return error.ToString();
}

Result<UniqueFd> Client::Connect() {
  auto socket = cli::Connect(endpoint_);
  if (socket) return socket;
  const int code = socket.error().code();
  if (launch_ && (code == ENOENT || code == ECONNREFUSED)) {
    const DaemonLaunch launch = *std::exchange(launch_, std::nullopt);
    STRATA_TRY(StartDaemon(launch));
    return Connect();
  }
  return Fail(code, kDaemonError,
              "cannot connect to the strata daemon at " + endpoint_.ToString() +
                  ": is it running? (" + socket.error().ToString() + ")");
}

Result<HttpExchange> Client::Start(const HttpRequest& request) {
  STRATA_TRY_ASSIGN(UniqueFd socket, Connect());
  HttpExchange exchange(std::move(socket));
  STRATA_TRY(exchange.Send(request, HostHeader(endpoint_)));
  STRATA_TRY(exchange.ReadHead());
  const int status = exchange.head().status;
  if (status >= 300) return std::unexpected(ErrorOfAnswer(exchange));
  return exchange;
}

Result<Json> Client::Call(HttpRequest request) {
  STRATA_TRY_ASSIGN(HttpExchange exchange, Start(request));
  STRATA_TRY_ASSIGN(const std::string body, exchange.ReadAll(kMaxAnswer));
  if (body.empty()) return Json();
  return ParseJson(body);
}

Result<Json> Client::Get(const std::string& target) {
  HttpRequest request;
  request.target = target;
  return Call(std::move(request));
}

Result<Json> Client::Post(const std::string& target) {
  HttpRequest request;
  request.method = "POST";
  request.target = target;
  return Call(std::move(request));
}

Result<Json> Client::Post(const std::string& target, const Json& body) {
  return Call(JsonRequest("POST", target, body));
}

Result<Json> Client::Delete(const std::string& target) {
  HttpRequest request;
  request.method = "DELETE";
  request.target = target;
  return Call(std::move(request));
}

Result<Json> Client::Delete(const std::string& target, const Json& body) {
  return Call(JsonRequest("DELETE", target, body));
}

Result<Client::Hijacked> Client::Hijack(const std::string& target, const Json& body) {
  HttpRequest request;
  request.method = "POST";
  request.target = target;
  // Without a body there must be not a byte: some daemons take it for the first input.
  if (!body.is_null()) request = JsonRequest("POST", target, body);
  request.upgrade = true;
  STRATA_TRY_ASSIGN(HttpExchange exchange, Start(request));
  std::string content_type(exchange.head().Header("Content-Type"));
  return Hijacked{std::move(exchange).TakeOver(), std::move(content_type)};
}

}  // namespace strata::manager::cli
