// One registry as the client's parts see it: where it is, how to be let in, what to try again.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "base/cancellation.h"
#include "base/error.h"
#include "manager/registry/authenticator.h"
#include "manager/registry/credentials.h"
#include "manager/registry/web_client.h"

namespace strata::manager {

struct RegistryOptions {
  // The registry may speak plain http, and its certificate is not checked.
  bool insecure = false;
  std::string ca_file;  // PEM, instead of the system's certificates
  std::chrono::milliseconds connect_timeout{15'000};
  std::chrono::milliseconds stall_timeout{30'000};  // a registry this silent is given up
  // How often a request that may be repeated is made before the last answer counts, and the pause
  // before the first repetition (doubled for each further one).
  int attempts = 3;
  std::chrono::milliseconds retry_delay{500};
  // Blobs up to this size go in a single PUT, larger ones in chunks of it.
  std::uint64_t upload_chunk = std::uint64_t{32} << 20U;
};

// What a request is about, for authorization and for messages.
struct RegistryPurpose {
  std::string what;   // "get manifest 12 of library/debian"
  std::string scope;  // token scopes, separated by blanks
};

// Thread-safe.
class RegistrySession {
 public:
  // `registry` as a Reference has it ("docker.io", "localhost:5000"). Finds out whether a loopback
  // or insecure registry speaks http or https; asks nothing of other ones. `cancel` may be null and
  // must outlive the session.
  static Result<std::unique_ptr<RegistrySession>> Open(std::string registry,
                                                       RegistryCredentials credentials,
                                                       const RegistryOptions& options,
                                                       Cancellation* cancel);

  const std::string& registry() const { return registry_; }
  const RegistryOptions& options() const { return options_; }

  // "https://registry-1.docker.io" + path; a path starts with "/v2/".
  std::string Url(std::string_view path) const { return base_ + std::string(path); }

  // Sends the request, authorized when it goes to the registry itself, and answers one 401. Returns
  // whatever comes then: any status but 401 and 403, which are errors (EACCES).
  Result<WebResponse> Send(const RegistryPurpose& purpose, const WebRequest& request);

  // Send(), repeated after dropped connections and after answers that ask for patience (429, 502,
  // 503, 504) with their Retry-After. For requests that change nothing.
  Result<WebResponse> SendRepeatedly(const RegistryPurpose& purpose, const WebRequest& request);

  // The response, unless its status is none of `expected`: then what the registry says about it.
  Result<WebResponse> Expect(const RegistryPurpose& purpose, Result<WebResponse> response,
                             std::initializer_list<int> expected) const;

  // Puts registry and purpose in front of an error.
  Error Explain(const RegistryPurpose& purpose, Error error) const;

  // Sleeps before repetition number `attempt` (from 1); ECANCELED.
  Result<> Pause(int attempt, std::chrono::milliseconds at_least = {}) const;

 private:
  RegistrySession(std::string registry, RegistryCredentials credentials,
                  const RegistryOptions& options, Cancellation* cancel);
  Result<> FindBase();
  Result<> Probe(const std::string& base);

  const std::string registry_;
  const std::string host_;
  const RegistryOptions options_;
  Cancellation* const cancel_;
  std::string base_;  // set once, in Open()
  WebClient web_;
  Authenticator authenticator_;
};

// Whether trying again may help: the connection broke or never came about in time.
bool IsTransient(const Error& error);

}  // namespace strata::manager
