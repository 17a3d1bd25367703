// An HTTP server on a real loopback socket that answers as a test tells it to: also wrongly, too
// late, or with half of what it promised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strata::support {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

struct ScriptedRequest {
  std::string method;
  std::string target;  // path and query
  HttpFields headers;
  std::string body;

  // "" if there is none; the name is compared without regard to case.
  std::string Header(std::string_view name) const;
};

struct ScriptedReply {
  int status = 200;
  HttpFields headers{};
  std::string body{};
  // Content-Length promises the whole body; after so many bytes of it ...
  std::optional<std::size_t> drop_after{};  // ... the connection is dropped
  std::optional<std::size_t> hang_after{};  // ... nothing more comes
  bool silent = false;                      // not even a status line comes
  std::optional<std::string> raw{};         // instead of all that: these bytes, then the end
};

// Serves until destroyed; each connection in a thread of its own, so the handler must be
// thread-safe as far as the test makes parallel requests.
class ScriptedHttpServer {
 public:
  using Handler = std::function<ScriptedReply(const ScriptedRequest&)>;

  explicit ScriptedHttpServer(Handler handler);
  ~ScriptedHttpServer();
  ScriptedHttpServer(const ScriptedHttpServer&) = delete;
  ScriptedHttpServer& operator=(const ScriptedHttpServer&) = delete;

  std::string Address() const;                     // "127.0.0.1:40123"
  std::string Url(const std::string& path) const;  // "http://127.0.0.1:40123" + path
  std::vector<ScriptedRequest> Requests() const;   // so far, in order of arrival
  // How many so far had this method and a target that contains `part`.
  std::size_t Count(std::string_view method, std::string_view part) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace strata::support
