#include "manager/registry/authenticator.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/try.h"
#include "manager/registry/registry_error.h"
#include "manager/registry/url.h"

namespace strata::manager {
namespace {

using Json = nlohmann::json;
using std::chrono::seconds;

constexpr seconds kTokenLifeDefault{60};  // what the token specification says
constexpr seconds kTokenLifeMax{3600};
constexpr seconds kTokenMargin{10};  // not used in its last seconds
constexpr std::chrono::milliseconds kTokenTimeout{30'000};
constexpr std::size_t kTokenAnswerLimit = std::size_t{256} * 1024;
constexpr std::string_view kClientId = "strata";

// Visible ASCII: what RFC 6750 allows in a token and no header can be broken with.
bool IsTokenText(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string GetString(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// Scopes in a request are separate parameters.
std::vector<std::string> SplitScopes(const std::string& scope) {
  std::vector<std::string> result;
  std::size_t start = 0;
  while (start < scope.size()) {
    const std::size_t end = std::min(scope.find(' ', start), scope.size());
    if (end > start) result.push_back(scope.substr(start, end - start));
    start = end + 1;
  }
  return result;
}

}  // namespace

Authenticator::Authenticator(WebClient& web, RegistryCredentials credentials)
    : web_(web), credentials_(std::move(credentials)) {}

Result<std::string> Authenticator::HeaderFor(const std::string& scope) {
  if (!credentials_.registry_token.empty()) return "Bearer " + credentials_.registry_token;
  std::optional<TokenServer> server;
  {
    const MutexLock lock(mu_);
    if (basic_) {
      return "Basic " + EncodeBase64(credentials_.username + ":" + credentials_.password);
    }
    if (!server_) return std::string();
    const auto it = tokens_.find(scope);
    if (it != tokens_.end() && Clock::now() < it->second.expires) {
      return "Bearer " + it->second.value;
    }
    server = server_;
  }
  return TokenHeader(*server, scope);
}

Result<std::string> Authenticator::Answer(const WebResponse& unauthorized,
                                          const std::string& scope) {
  const auto challenges = ParseChallenges(unauthorized.Headers("WWW-Authenticate"));
  const auto find = [&](std::string_view scheme) {
    return std::ranges::find(challenges, scheme, &AuthChallenge::scheme);
  };
  if (const auto bearer = find("bearer"); bearer != challenges.end()) {
    TokenServer server{std::string(bearer->Get("realm")), std::string(bearer->Get("service"))};
    STRATA_TRY(CheckRealm(server.realm));
    {
      const MutexLock lock(mu_);
      server_ = server;
      tokens_.erase(scope);  // the one that was refused, if any
    }
    // The registry knows best what it wants; our own guess stands in where it says nothing.
    return TokenHeader(server, scope.empty() ? std::string(bearer->Get("scope")) : scope);
  }
  if (find("basic") != challenges.end()) {
    if (credentials_.username.empty()) {
      return std::unexpected(MakeRegistryError(
          "authentication is required, no user name and password are known", unauthorized));
    }
    const MutexLock lock(mu_);
    basic_ = true;
    return "Basic " + EncodeBase64(credentials_.username + ":" + credentials_.password);
  }
  return std::unexpected(MakeRegistryError(
      challenges.empty() ? "authentication is required, but the registry does not say how"
                         : "no way of authentication in common",
      unauthorized));
}

Result<> Authenticator::CheckRealm(const std::string& realm) const {
  const auto origin = ParseOrigin(realm);
  if (!origin) {
    return Fail(EACCES, "authenticate",
                "the registry names no usable token server: \"" + realm.substr(0, 200) + "\"");
  }
  if (IsLinkLocalHost(origin->host)) {
    return Fail(EACCES, "authenticate", "token server " + origin->Authority() + " is link-local");
  }
  if (origin->scheme == "http" && !web_.PlainHttpAllowed(realm)) {
    return Fail(EACCES, "authenticate",
                "token server " + origin->Authority() + " speaks plain http");
  }
  return {};
}

Result<std::string> Authenticator::TokenHeader(const TokenServer& server,
                                               const std::string& scope) {
  STRATA_TRY_ASSIGN(Token token, FetchToken(server, scope));
  std::string header = "Bearer " + token.value;
  const MutexLock lock(mu_);
  tokens_.insert_or_assign(scope, std::move(token));
  return header;
}

Result<Authenticator::Token> Authenticator::FetchToken(const TokenServer& server,
                                                       const std::string& scope) {
  WebRequest request;
  request.body_limit = kTokenAnswerLimit;
  request.total_timeout = kTokenTimeout;
  if (!credentials_.identity_token.empty()) {
    request.method = "POST";
    request.url = server.realm;
    request.headers.push_back({"Content-Type", "application/x-www-form-urlencoded"});
    request.body = "grant_type=refresh_token&service=" + PercentEncode(server.service) +
                   "&client_id=" + std::string(kClientId) + "&scope=" + PercentEncode(scope) +
                   "&refresh_token=" + PercentEncode(credentials_.identity_token);
  } else {
    request.url = server.realm;
    if (!server.service.empty()) {
      STRATA_TRY_ASSIGN(request.url, AddQuery(request.url, "service", server.service));
    }
    for (const std::string& one : SplitScopes(scope)) {
      STRATA_TRY_ASSIGN(request.url, AddQuery(request.url, "scope", one));
    }
    if (!credentials_.username.empty()) {
      STRATA_TRY_ASSIGN(request.url, AddQuery(request.url, "account", credentials_.username));
      request.authorization =
          "Basic " + EncodeBase64(credentials_.username + ":" + credentials_.password);
    }
  }
  auto response = web_.Perform(request);
  if (!response) return std::unexpected(std::move(response.error()).WithContext("token server"));
  const std::string who = "token server " + response->url.substr(0, response->url.find('?'));
  if (!response->ok()) return std::unexpected(MakeRegistryError(who, *response));

  const Json json = Json::parse(response->body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Fail(EBADMSG, "authenticate", who + " did not answer with JSON");
  Token token;
  token.value = GetString(json, "token");
  if (token.value.empty()) token.value = GetString(json, "access_token");
  if (!IsTokenText(token.value)) {
    return Fail(EBADMSG, "authenticate", who + " answered without a token");
  }
  seconds life = kTokenLifeDefault;
  if (const auto it = json.find("expires_in"); it != json.end() && it->is_number_integer()) {
    life = std::clamp(seconds(it->get<std::int64_t>()), seconds(0), kTokenLifeMax);
  }
  token.expires = Clock::now() + std::max(life - kTokenMargin, life / 2);
  return token;
}

}  // namespace strata::manager
