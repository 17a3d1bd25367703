// WWW-Authenticate as RFC 9110 §11.6.1 defines it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace strata::manager {

// One way to authenticate that a server offers. Names are lower case, values are unquoted.
struct AuthChallenge {
  std::string scheme;  // "basic", "bearer"
  std::map<std::string, std::string, std::less<>> parameters;

  // "" for a parameter that is not there.
  std::string_view Get(std::string_view name) const;
};

// Every challenge of every header, in order. Text that fits no challenge ends a header: what was
// understood before it counts.
std::vector<AuthChallenge> ParseChallenges(const std::vector<std::string_view>& headers);

}  // namespace strata::manager
