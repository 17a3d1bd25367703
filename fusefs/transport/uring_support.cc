#include "fusefs/transport/uring_support.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

#include "base/try.h"
#include "base/unique_fd.h"
#include "fusefs/transport/uring_ring.h"

namespace strata::fusefs {
namespace {

constexpr const char* kPossibleCpus = "/sys/devices/system/cpu/possible";

// The one line of such a file.
Result<std::string> ReadSetting(const char* path) {
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return FailErrno("open", path);
  char text[4096];
  const ssize_t got = ::read(file.get(), text, sizeof text);
  if (got < 0) return FailErrno("read", path);
  std::string_view line(text, static_cast<std::size_t>(got));
  return std::string(line.substr(0, line.find('\n')));
}

Result<bool> Allowed() {
  const auto setting = ReadSetting(kUringParameter);
  if (!setting && setting.error().code() == ENOENT) {
    return Fail(ENOSYS, "",
                "transport=uring: this kernel has no FUSE over io_uring (" +
                    std::string(kUringParameter) + " is missing)");
  }
  if (!setting) {
    return Fail(setting.error().code(), "transport=uring", std::string(kUringParameter));
  }
  return *setting == "Y";
}

Result<> CheckRings() {
  const auto ring = UringRing::Create(-1, -1, 0, std::chrono::microseconds::zero());
  if (ring) return {};
  return Fail(ring.error().code(), "transport=uring: io_uring cannot be used here");
}

Result<> Allow() {
  const UniqueFd file(::open(kUringParameter, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), "Y", 1) != 1) {
    const Error error = Error::FromErrno("");
    return Fail(error.code(), "",
                "transport=uring: " + std::string(kUringParameter) +
                    " is N and cannot be set to Y (" + error.ToString() + ")");
  }
  return {};
}

}  // namespace

Result<> CheckUring() {
  STRATA_TRY_ASSIGN(const bool allowed, Allowed());
  if (!allowed) {
    return Fail(EOPNOTSUPP, "", "transport=uring: " + std::string(kUringParameter) + " is N");
  }
  return CheckRings();
}

Result<> EnableUring() {
  STRATA_TRY_ASSIGN(const bool allowed, Allowed());
  STRATA_TRY(CheckRings());
  if (!allowed) STRATA_TRY(Allow());
  return {};
}

Result<unsigned> CountUringQueues() {
  STRATA_TRY_ASSIGN(const std::string list, ReadSetting(kPossibleCpus));
  return CountCpus(list);
}

Result<unsigned> CountCpus(std::string_view list) {
  const auto take_number = [&list](unsigned& number) {
    const auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), number);
    list.remove_prefix(static_cast<std::size_t>(end - list.data()));
    return error == std::errc();
  };
  const std::string whole(list);
  unsigned count = 0;
  for (;;) {
    unsigned first = 0;
    if (!take_number(first)) return Fail(EPROTO, "list of processors", whole);
    unsigned last = first;
    if (list.starts_with('-')) {
      list.remove_prefix(1);
      if (!take_number(last) || last < first) return Fail(EPROTO, "list of processors", whole);
    }
    count += last - first + 1;
    if (list.empty()) return count;
    if (!list.starts_with(',')) return Fail(EPROTO, "list of processors", whole);
    list.remove_prefix(1);
  }
}

}  // namespace strata::fusefs
