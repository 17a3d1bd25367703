// Answers a registry's demand for authorization: Basic, or bearer tokens from its token server.
// https://distribution.github.io/distribution/spec/auth/token/ and .../auth/oauth/
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/mutex.h"
#include "manager/registry/auth_challenge.h"
#include "manager/registry/credentials.h"
#include "manager/registry/web_client.h"

namespace strata::manager {

// For one registry and one set of credentials. Keeps tokens until they expire, one per scope.
// Thread-safe; no request runs under its lock.
class Authenticator {
 public:
  // `web` must outlive this object.
  Authenticator(WebClient& web, RegistryCredentials credentials);

  // The Authorization header to send right away with a request that needs `scope`
  // ("repository:library/debian:pull", several separated by blanks); "" before the registry has
  // said what it wants.
  Result<std::string> HeaderFor(const std::string& scope);

  // The header to repeat a request with that was answered 401. EACCES if the registry's demand
  // can not be met: no credentials, credentials refused, a token server that must not be trusted
  // (plain http off this machine, link-local).
  Result<std::string> Answer(const WebResponse& unauthorized, const std::string& scope);

 private:
  using Clock = std::chrono::steady_clock;
  struct Token {
    std::string value;
    Clock::time_point expires;
  };
  struct TokenServer {
    std::string realm;
    std::string service;
  };

  Result<Token> FetchToken(const TokenServer& server, const std::string& scope);
  Result<std::string> TokenHeader(const TokenServer& server, const std::string& scope);
  Result<> CheckRealm(const std::string& realm) const;

  WebClient& web_;
  const RegistryCredentials credentials_;

  Mutex mu_;  // leaf: nothing is locked under it
  bool basic_ STRATA_GUARDED_BY(mu_) = false;
  std::optional<TokenServer> server_ STRATA_GUARDED_BY(mu_);
  std::map<std::string, Token> tokens_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::manager
