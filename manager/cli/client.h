// The daemon as the commands see it: calls that either give JSON, a stream or a taken-over
// connection, or one Error whose detail is the daemon's own message.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "manager/cli/autostart.h"
#include "manager/cli/endpoint.h"
#include "manager/cli/http.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

// The op() of errors that the daemon itself answered. Their code tells the kind: ENOENT (404),
// EEXIST (409), EINVAL (400), EACCES (401, 403), ENOSYS (501), EALREADY (304), else EIO.
inline constexpr const char* kDaemonError = "daemon";
// The op() of errors about a file that was given; their words say all there is to say.
inline constexpr const char* kInputError = "input";

// What the user is told about an error: the daemon's words alone if it spoke, else
// Error::ToString().
std::string Explain(const Error& error);

// The API's path of a container, by name or id, for Client's calls.
inline std::string ContainerPath(const std::string& name) {
  return "/containers/" + PercentEncode(name);
}

// Stateless but for the address: every call is its own connection. Thread-compatible.
class Client {
 public:
  explicit Client(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}
  // Starts the daemon if none answers at launch.endpoint.
  explicit Client(DaemonLaunch launch) : endpoint_(launch.endpoint), launch_(std::move(launch)) {}

  const Endpoint& endpoint() const { return endpoint_; }

  // A connection on which nothing has been said. ECONNREFUSED and the like say where there is no
  // daemon.
  Result<UniqueFd> Connect();

  // Sends, reads the head, turns statuses from 300 on into errors. The body is still to be read.
  Result<HttpExchange> Start(const HttpRequest& request);

  // The answer's JSON; null if it is empty.
  Result<Json> Get(const std::string& target);
  Result<Json> Post(const std::string& target);
  Result<Json> Post(const std::string& target, const Json& body);
  Result<Json> Delete(const std::string& target);
  Result<Json> Delete(const std::string& target, const Json& body);

  // POST with an upgrade; the connection is ours afterwards. `content_type` is that of the answer
  // and tells whether output is framed (stdcopy.h).
  struct Hijacked {
    HttpExchange::Connection connection;
    std::string content_type;
  };
  Result<Hijacked> Hijack(const std::string& target, const Json& body);

 private:
  Result<Json> Call(HttpRequest request);

  Endpoint endpoint_;
  std::optional<DaemonLaunch> launch_;
};

}  // namespace strata::manager::cli
