#include "manager/registry/registry_session.h"

#include <algorithm>
#include <charconv>

#include "base/logging.h"
#include "base/try.h"
#include "manager/registry/registry_error.h"
#include "manager/registry/url.h"

namespace strata::manager {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kUserAgent = "strata/0.1 (docker-compatible)";
constexpr std::string_view kDockerHub = "docker.io";
constexpr std::string_view kDockerHubHost = "registry-1.docker.io";
constexpr milliseconds kProbeTimeout{10'000};
constexpr milliseconds kRetryAfterMax{20'000};

std::string HostOf(const std::string& registry) {
  return registry == kDockerHub ? std::string(kDockerHubHost) : registry;
}

WebOptions MakeWebOptions(const std::string& host, const RegistryOptions& options) {
  WebOptions web;
  web.connect_timeout = options.connect_timeout;
  web.stall_timeout = options.stall_timeout;
  web.user_agent = std::string(kUserAgent);
  web.ca_file = options.ca_file;
  if (options.insecure) web.insecure_hosts.push_back(host);
  return web;
}

bool AsksForPatience(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

// Only the form in seconds; a date is not worth a parser.
milliseconds RetryAfter(const WebResponse& response) {
  const std::string_view text = response.Header("Retry-After");
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return milliseconds(0);
  return std::min<milliseconds>(std::chrono::seconds(seconds), kRetryAfterMax);
}

}  // namespace

bool IsTransient(const Error& error) {
  return error.code() == ECONNRESET || error.code() == EPIPE || error.code() == ENETUNREACH;
}

RegistrySession::RegistrySession(std::string registry, RegistryCredentials credentials,
                                 const RegistryOptions& options, Cancellation* cancel)
    : registry_(std::move(registry)),
      host_(HostOf(registry_)),
      options_(options),
      cancel_(cancel),
      web_(MakeWebOptions(host_, options), cancel),
      authenticator_(web_, std::move(credentials)) {}

Result<std::unique_ptr<RegistrySession>> RegistrySession::Open(std::string registry,
                                                               RegistryCredentials credentials,
                                                               const RegistryOptions& options,
                                                               Cancellation* cancel) {
  std::unique_ptr<RegistrySession> session(
      new RegistrySession(std::move(registry), std::move(credentials), options, cancel));
  STRATA_TRY(session->FindBase());
  return session;
}

Result<> RegistrySession::FindBase() {
  const std::string secure = "https://" + host_;
  const std::string plain = "http://" + host_;
  const auto origin = ParseOrigin(secure);
  if (!origin || registry_.find_first_of("/?#@\\") != std::string::npos) {
    return Fail(EINVAL, "open registry", "\"" + registry_ + "\" is not the name of a registry");
  }
  if (!web_.PlainHttpAllowed(plain)) {
    base_ = secure;
    return {};
  }
  // On this machine nobody listens in, and most registries there are plain; elsewhere https is
  // tried first even where the user waives it.
  const bool plain_first = IsLoopbackHost(origin->host);
  const std::string& first = plain_first ? plain : secure;
  const std::string& second = plain_first ? secure : plain;
  base_ = first;
  Result<> probed = Probe(first);
  const int code = probed ? 0 : probed.error().code();
  if (code == EPROTO || code == ECONNRESET || code == EPROTONOSUPPORT) {
    Result<> other = Probe(second);
    // Where the first one was plainly the wrong language, the second's failure is what counts.
    if (other || code == EPROTONOSUPPORT) {
      base_ = second;
      probed = std::move(other);
    }
  }
  if (!probed) return std::unexpected(Explain({"connect", ""}, std::move(probed).error()));
  return {};
}

Result<> RegistrySession::Probe(const std::string& base) {
  WebRequest request;
  request.url = base + "/v2/";
  request.total_timeout = std::min(kProbeTimeout, options_.stall_timeout);
  STRATA_TRY_ASSIGN(const WebResponse response, web_.Perform(request));
  // How Go's and nginx's servers answer plain http on a port for https.
  if (response.status == 400 && base.starts_with("http:")) {
    return Fail(EPROTONOSUPPORT, "probe", "the registry does not speak plain http");
  }
  return {};
}

Error RegistrySession::Explain(const RegistryPurpose& purpose, Error error) const {
  return std::move(error).WithContext("registry " + registry_ + ": " + purpose.what);
}

Result<> RegistrySession::Pause(int attempt, milliseconds at_least) const {
  constexpr int kDoublingsMax = 6;
  const milliseconds delay =
      std::max(at_least, options_.retry_delay * (1 << std::min(attempt - 1, kDoublingsMax)));
  if (cancel_ == nullptr) {
    Cancellation never;
    never.WaitFor(delay);
    return {};
  }
  if (cancel_->WaitFor(delay)) return Fail(ECANCELED, "wait for registry");
  return {};
}

Result<WebResponse> RegistrySession::Send(const RegistryPurpose& purpose,
                                          const WebRequest& request) {
  const auto target = ParseOrigin(request.url);
  const auto own = ParseOrigin(base_);
  // Upload URLs may lead anywhere; credentials go to the registry only.
  const bool authorized = target && own && *target == *own;
  WebRequest copy = request;
  if (authorized) {
    auto header = authenticator_.HeaderFor(purpose.scope);
    if (!header) return std::unexpected(Explain(purpose, std::move(header.error())));
    copy.authorization = *std::move(header);
  }
  auto response = web_.Perform(copy);
  if (response && response->status == 401 && authorized) {
    const bool had_tried = !copy.authorization.empty();
    auto header = authenticator_.Answer(*response, purpose.scope);
    if (!header) return std::unexpected(Explain(purpose, std::move(header.error())));
    // The same header again would get the same answer.
    if (!had_tried || *header != copy.authorization) {
      copy.authorization = *std::move(header);
      response = web_.Perform(copy);
    }
  }
  if (!response) return std::unexpected(Explain(purpose, std::move(response.error())));
  if (response->status == 401 || response->status == 403) {
    return std::unexpected(MakeRegistryError("registry " + registry_ + ": " + purpose.what +
                                                 ": access denied or repository does not exist",
                                             *response));
  }
  return response;
}

Result<WebResponse> RegistrySession::SendRepeatedly(const RegistryPurpose& purpose,
                                                    const WebRequest& request) {
  for (int attempt = 1;; ++attempt) {
    auto response = Send(purpose, request);
    const bool again = response ? AsksForPatience(response->status) : IsTransient(response.error());
    if (!again || attempt >= options_.attempts) return response;
    log::Info("registry request is repeated", {{"registry", registry_},
                                               {"request", purpose.what},
                                               {"attempt", attempt},
                                               {"status", response ? response->status : 0}});
    STRATA_TRY(Pause(attempt, response ? RetryAfter(*response) : milliseconds(0)));
  }
}

Result<WebResponse> RegistrySession::Expect(const RegistryPurpose& purpose,
                                            Result<WebResponse> response,
                                            std::initializer_list<int> expected) const {
  if (!response || std::ranges::find(expected, response->status) != expected.end()) {
    return response;
  }
  return std::unexpected(
      MakeRegistryError("registry " + registry_ + ": " + purpose.what, *response));
}

}  // namespace strata::manager
