// The calls about who acts: credentials, umask, limits, other processes.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <stdexcept>

#include "base/unique_fd.h"
#include "tests/conformance/posix/machine.h"

namespace strata::conformance {
namespace {

using Words = std::span<const std::string>;

constexpr Flag kCapabilities[] = {
    {"chown", CAP_CHOWN},
    {"dac_override", CAP_DAC_OVERRIDE},
    {"dac_read_search", CAP_DAC_READ_SEARCH},
    {"fowner", CAP_FOWNER},
    {"fsetid", CAP_FSETID},
    {"mknod", CAP_MKNOD},
    {"sys_admin", CAP_SYS_ADMIN},
    {"setfcap", CAP_SETFCAP},
    {"linux_immutable", CAP_LINUX_IMMUTABLE},
    {"lease", CAP_LEASE},
};

// Whoever is named in most cases.
constexpr std::pair<std::string_view, std::string_view> kPeople[] = {
    {"root", "0:0"}, {"alice", "1000:1000"}, {"bob", "2000:2000"}, {"carol", "3000:3000:1000"}};

void Require(long result, const char* what) {
  if (result != 0) throw std::runtime_error(std::string(what) + ": " + ErrnoName(errno));
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

// Effective capabilities: of root all but those named after '-', of others those after '+'.
void SetCapabilities(const std::string& names, bool add) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<struct __user_cap_data_struct, 2> sets = {};
  Require(::syscall(SYS_capget, &header, sets.data()), "capget");
  for (const std::string& name : Split(names, ',')) {
    const unsigned bit = ParseFlags(name, kCapabilities);
    unsigned& word = sets[bit / 32].effective;
    word = add ? word | (1U << bit % 32) : word & ~(1U << bit % 32);
  }
  Require(::syscall(SYS_capset, &header, sets.data()), "capset");
}

// as NAME, or UID:GID[:GROUP,GROUP...][+CAPABILITY,...|-CAPABILITY,...]. The saved user id stays 0,
// which is the way back; the kernel asks the other ids only.
std::string As(Machine&, Words w) {
  std::string who = w[0];
  for (const auto& [name, ids] : kPeople) {
    if (who == name) who = ids;
  }
  const std::size_t sign = std::min(who.find_first_of("+-"), who.size());
  const auto ids = Split(who.substr(0, sign), ':');
  if (ids.size() < 2) throw std::invalid_argument("as whom? " + w[0]);
  const auto uid = static_cast<uid_t>(ParseNumber(ids[0]));
  const auto gid = static_cast<gid_t>(ParseNumber(ids[1]));
  std::vector<gid_t> groups;
  if (ids.size() > 2) {
    for (const auto& group : Split(ids[2], ','))
      groups.push_back(static_cast<gid_t>(ParseNumber(group)));
  }
  Require(::setresuid(0, 0, 0), "setresuid");
  Require(::setgroups(groups.size(), groups.data()), "setgroups");
  Require(::setresgid(gid, gid, gid), "setresgid");
  Require(::setresuid(uid, uid, 0), "setresuid");
  if (sign < who.size()) SetCapabilities(who.substr(sign + 1), who[sign] == '+');
  Require(::prctl(PR_SET_DUMPABLE, 1), "prctl");  // /proc/self stays its own
  return "ok";
}

std::string Umask(Machine&, Words w) {
  ::umask(static_cast<mode_t>(ParseNumber(w[0])));
  return "ok";
}

// limit SIZE: RLIMIT_FSIZE
std::string Limit(Machine&, Words w) {
  const auto size = static_cast<rlim_t>(ParseNumber(w[0]));
  const struct rlimit limit = {size, RLIM_INFINITY};
  return Outcome(::setrlimit(RLIMIT_FSIZE, &limit));
}

std::string Watch(Machine& m, Words w) {
  m.Watch(w);
  return "ok";
}

std::string Chdir(Machine& m, Words w) { return Outcome(::chdir(m.At(w[0]).path)); }

// Runs `body` in a child and returns what it writes.
template <class Body>
std::string InChild(Body body) {
  int ends[2];
  Require(::pipe2(ends, O_CLOEXEC), "pipe2");
  const UniqueFd read(ends[0]);
  UniqueFd write(ends[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string text = body();
    const ssize_t wrote = ::write(write.get(), text.data(), text.size());
    ::_exit(wrote == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  write.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(read.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid || status != 0) return "the child died";
  return text;
}

// child CALL... [; CALL...]: by another process
std::string Child(Machine& m, Words w) {
  return InChild([&] {
    std::string text;
    for (std::size_t from = 0; from < w.size();) {
      std::size_t end = from;
      while (end < w.size() && w[end] != ";") ++end;
      text += (text.empty() ? "" : "; ") + m.Call(w.subspan(from, end - from));
      from = end + 1;
    }
    return text;
  });
}

// exec PATH: runs it without arguments; its exit code, or why it did not start
std::string Exec(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  int ends[2];
  Require(::pipe2(ends, O_CLOEXEC), "pipe2");
  const UniqueFd read(ends[0]);
  UniqueFd write(ends[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    char* const none[] = {const_cast<char*>("program"), nullptr};
    ::execve(at.path, none, none + 1);
    const int code = errno;
    ::_exit(::write(write.get(), &code, sizeof code) == sizeof code ? 0 : 1);
  }
  write.reset();
  int code = 0;
  const bool failed = ::read(read.get(), &code, sizeof code) == sizeof code;
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid) return "not run";
  return failed ? ErrnoName(code) : "exit " + std::to_string(WEXITSTATUS(status));
}

// notify SLOT PATH: an inotify instance
std::string Notify(Machine& m, Words w) {
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0 || ::inotify_add_watch(fd, m.At(w[1]).path,
                                    IN_ALL_EVENTS & ~static_cast<unsigned>(IN_ACCESS)) < 0) {
    return ErrnoName(errno);
  }
  return m.Keep(w[0], fd);
}

// events SLOT: what came since the last time
std::string Events(Machine& m, Words w) {
  constexpr Flag kNames[] = {
      {"modify", IN_MODIFY},
      {"attrib", IN_ATTRIB},
      {"close-write", IN_CLOSE_WRITE},
      {"close", IN_CLOSE_NOWRITE},
      {"open", IN_OPEN},
      {"from", IN_MOVED_FROM},
      {"to", IN_MOVED_TO},
      {"create", IN_CREATE},
      {"delete", IN_DELETE},
      {"delete-self", IN_DELETE_SELF},
      {"move-self", IN_MOVE_SELF},
      {"ignored", IN_IGNORED},
  };
  alignas(struct inotify_event) char buffer[16384];
  std::string text;
  const ssize_t n = ::read(m.Fd(w[0]), buffer, sizeof buffer);
  for (ssize_t at = 0; at < n;) {
    const auto* event = reinterpret_cast<const struct inotify_event*>(buffer + at);
    for (const Flag& name : kNames) {
      if ((event->mask & name.value) == 0) continue;
      text += (text.empty() ? "" : " ") + std::string(name.name);
      if (event->len > 0) text += ":" + std::string(event->name);
    }
    at += static_cast<ssize_t>(sizeof *event + event->len);
  }
  return text.empty() ? "nothing" : text;
}

constexpr CallRow kCalls[] = {
    {"as", 1, 1, As},       {"umask", 1, 1, Umask},   {"limit", 1, 1, Limit},
    {"watch", 0, 9, Watch}, {"chdir", 1, 1, Chdir},   {"child", 1, 40, Child},
    {"exec", 1, 1, Exec},   {"notify", 2, 2, Notify}, {"events", 1, 1, Events},
};

}  // namespace

std::span<const CallRow> ProcessCalls() { return kCalls; }

}  // namespace strata::conformance
