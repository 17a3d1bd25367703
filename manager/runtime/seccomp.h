// The seccomp filter containers get by default: calls that reach beyond a container or that only an
// administrator of the host needs fail with EPERM, or ENOSYS where programs fall back on that.
// A capability the container was given re-opens the calls that belong to it. It names what is
// refused (docker's profile names what is allowed): the same calls are closed, calls a future
// kernel adds are open until listed here.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace strata::manager {

struct SeccompRule {
  std::vector<std::string> names;
  int error = 0;  // what the call fails with
};

// Rules for a process holding `capabilities` ("CAP_SYS_ADMIN").
std::vector<SeccompRule> DefaultSeccompRules(const std::vector<std::string>& capabilities);

// clone(2) with any of these flags (new namespaces, clone(2)) is refused without CAP_SYS_ADMIN.
inline constexpr std::array<unsigned long, 7> kNamespaceFlags{
    0x00020000UL, 0x02000000UL, 0x04000000UL, 0x08000000UL,
    0x10000000UL, 0x20000000UL, 0x40000000UL};
bool NamespacesRefused(const std::vector<std::string>& capabilities);

}  // namespace strata::manager
