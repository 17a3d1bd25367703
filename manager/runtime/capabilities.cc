#include "manager/runtime/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/try.h"

namespace strata::manager {
namespace {

// By number, linux/capability.h.
constexpr std::array kNames{"CAP_CHOWN",
                            "CAP_DAC_OVERRIDE",
                            "CAP_DAC_READ_SEARCH",
                            "CAP_FOWNER",
                            "CAP_FSETID",
                            "CAP_KILL",
                            "CAP_SETGID",
                            "CAP_SETUID",
                            "CAP_SETPCAP",
                            "CAP_LINUX_IMMUTABLE",
                            "CAP_NET_BIND_SERVICE",
                            "CAP_NET_BROADCAST",
                            "CAP_NET_ADMIN",
                            "CAP_NET_RAW",
                            "CAP_IPC_LOCK",
                            "CAP_IPC_OWNER",
                            "CAP_SYS_MODULE",
                            "CAP_SYS_RAWIO",
                            "CAP_SYS_CHROOT",
                            "CAP_SYS_PTRACE",
                            "CAP_SYS_PACCT",
                            "CAP_SYS_ADMIN",
                            "CAP_SYS_BOOT",
                            "CAP_SYS_NICE",
                            "CAP_SYS_RESOURCE",
                            "CAP_SYS_TIME",
                            "CAP_SYS_TTY_CONFIG",
                            "CAP_MKNOD",
                            "CAP_LEASE",
                            "CAP_AUDIT_WRITE",
                            "CAP_AUDIT_CONTROL",
                            "CAP_SETFCAP",
                            "CAP_MAC_OVERRIDE",
                            "CAP_MAC_ADMIN",
                            "CAP_SYSLOG",
                            "CAP_WAKE_ALARM",
                            "CAP_BLOCK_SUSPEND",
                            "CAP_AUDIT_READ",
                            "CAP_PERFMON",
                            "CAP_BPF",
                            "CAP_CHECKPOINT_RESTORE"};

// "net_admin" and "CAP_NET_ADMIN" -> "CAP_NET_ADMIN"; "all" -> "ALL".
Result<std::string> Normalise(const std::string& name) {
  std::string text;
  for (const char c : name) {
    text.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  }
  if (text == "ALL") return text;
  if (!text.starts_with("CAP_")) text = "CAP_" + text;
  if (std::ranges::find(kNames, text) == kNames.end()) {
    return Fail(EINVAL, "capability", "invalid capability: " + name);
  }
  return text;
}

void Add(std::vector<std::string>& set, const std::string& name) {
  if (std::ranges::find(set, name) == set.end()) set.push_back(name);
}

}  // namespace

std::vector<std::string> DefaultCapabilities() {
  std::vector<std::string> wanted{
      "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",     "CAP_MKNOD",
      "CAP_NET_RAW", "CAP_SETGID",       "CAP_SETUID",           "CAP_SETFCAP",    "CAP_SETPCAP",
      "CAP_KILL",    "CAP_SYS_CHROOT",   "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"};
  const std::vector<std::string> available = AllCapabilities();
  std::erase_if(wanted, [&](const std::string& name) {
    return std::ranges::find(available, name) == available.end();
  });
  return wanted;
}

std::vector<std::string> AllCapabilities() {
  std::vector<std::string> names;
  for (std::size_t number = 0; number < kNames.size(); ++number) {
    if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1) names.emplace_back(kNames.at(number));
  }
  return names;
}

Result<std::vector<std::string>> AdjustCapabilities(const std::vector<std::string>& base,
                                                    const std::vector<std::string>& add,
                                                    const std::vector<std::string>& drop) {
  std::vector<std::string> set = base;
  std::vector<std::string> dropped;
  for (const auto& raw : drop) {
    STRATA_TRY_ASSIGN(const std::string name, Normalise(raw));
    if (name == "ALL") {
      set.clear();
    } else {
      dropped.push_back(name);
    }
  }
  for (const auto& raw : add) {
    STRATA_TRY_ASSIGN(const std::string name, Normalise(raw));
    if (name == "ALL") {
      for (const auto& every : AllCapabilities()) Add(set, every);
    } else {
      Add(set, name);
    }
  }
  std::erase_if(set, [&](const std::string& name) {
    return std::ranges::find(dropped, name) != dropped.end();
  });
  return set;
}

}  // namespace strata::manager
