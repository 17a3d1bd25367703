// The calls on open files: opening, reading, writing, mapping, locking.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "tests/conformance/posix/machine.h"

namespace strata::conformance {
namespace {

using Words = std::span<const std::string>;

constexpr Flag kOpenFlags[] = {
    {"O_RDONLY", O_RDONLY},     {"O_WRONLY", O_WRONLY},       {"O_RDWR", O_RDWR},
    {"O_CREAT", O_CREAT},       {"O_EXCL", O_EXCL},           {"O_TRUNC", O_TRUNC},
    {"O_APPEND", O_APPEND},     {"O_DIRECTORY", O_DIRECTORY}, {"O_NOFOLLOW", O_NOFOLLOW},
    {"O_NONBLOCK", O_NONBLOCK}, {"O_NOATIME", O_NOATIME},     {"O_PATH", O_PATH},
    {"O_TMPFILE", O_TMPFILE},   {"O_SYNC", O_SYNC},           {"O_DSYNC", O_DSYNC},
    {"O_CLOEXEC", O_CLOEXEC},   {"O_ASYNC", O_ASYNC},         {"O_DIRECT", O_DIRECT},
};

std::size_t Size(const std::string& word) { return static_cast<std::size_t>(ParseNumber(word)); }

// open SLOT PATH FLAGS [MODE]
std::string Open(Machine& m, Words w) {
  const auto at = m.At(w[1]);
  const mode_t mode = w.size() > 3 ? static_cast<mode_t>(ParseNumber(w[3])) : 0644;
  return m.Keep(
      w[0], ::openat(at.directory, at.path, static_cast<int>(ParseFlags(w[2], kOpenFlags)), mode));
}

// reopen NEW SLOT FLAGS: through /proc/self/fd
std::string Reopen(Machine& m, Words w) {
  const std::string path = "/proc/self/fd/" + std::to_string(m.Fd(w[1]));
  return m.Keep(w[0], ::open(path.c_str(), static_cast<int>(ParseFlags(w[2], kOpenFlags))));
}

std::string Creat(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  const int fd = ::openat(at.directory, at.path, O_CREAT | O_WRONLY | O_TRUNC,
                          w.size() > 1 ? static_cast<mode_t>(ParseNumber(w[1])) : 0644);
  const std::string outcome = Outcome(fd);
  if (fd >= 0) ::close(fd);
  return outcome;
}

std::string Close(Machine& m, Words w) { return m.Close(w[0]); }

std::string Dup(Machine& m, Words w) { return m.Keep(w[0], ::dup(m.Fd(w[1]))); }

std::string Bytes(ssize_t n, std::string buffer) {
  if (n < 0) return ErrnoName(errno);
  buffer.resize(static_cast<std::size_t>(n));
  return Shortened(buffer);
}

std::string Read(Machine& m, Words w) {
  std::string buffer(Size(w[1]), '\0');
  const ssize_t n = ::read(m.Fd(w[0]), buffer.data(), buffer.size());
  return Bytes(n, std::move(buffer));
}

// pread SLOT SIZE OFFSET
std::string ReadAt(Machine& m, Words w) {
  std::string buffer(Size(w[1]), '\0');
  const ssize_t n = ::pread(m.Fd(w[0]), buffer.data(), buffer.size(), ParseNumber(w[2]));
  return Bytes(n, std::move(buffer));
}

std::string Write(Machine& m, Words w) {
  if (w[1] == "NULL") {
    const struct iovec nowhere = {nullptr, 1};
    return Number(::writev(m.Fd(w[0]), &nowhere, 1));
  }
  const std::string data = w[1] == "\"\"" ? "" : Machine::Expanded(w[1]);
  return Number(::write(m.Fd(w[0]), data.data(), data.size()));
}

// pwrite SLOT DATA OFFSET
std::string WriteAt(Machine& m, Words w) {
  const std::string data = Machine::Expanded(w[1]);
  return Number(::pwrite(m.Fd(w[0]), data.data(), data.size(), ParseNumber(w[2])));
}

// writev SLOT DATA DATA...
std::string WriteVector(Machine& m, Words w) {
  std::vector<std::string> data;
  std::vector<struct iovec> parts;
  data.reserve(w.size());
  for (const std::string& word : w.subspan(1)) {
    data.push_back(Machine::Expanded(word));
    parts.push_back({data.back().data(), data.back().size()});
  }
  return Number(::writev(m.Fd(w[0]), parts.data(), static_cast<int>(parts.size())));
}

// pwrite2 SLOT DATA OFFSET append|dsync|nowait
std::string WriteAtFlags(Machine& m, Words w) {
  constexpr Flag kFlags[] = {{"append", RWF_APPEND}, {"dsync", RWF_DSYNC}, {"bad", 0x40000000U}};
  std::string data = Machine::Expanded(w[1]);
  struct iovec part = {data.data(), data.size()};
  return Number(::pwritev2(m.Fd(w[0]), &part, 1, ParseNumber(w[2]),
                           static_cast<int>(ParseFlags(w[3], kFlags))));
}

// cat PATH: the whole content
std::string Cat(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  const int fd = ::openat(at.directory, at.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoName(errno);
  std::string all;
  std::string buffer(1 << 16, '\0');
  ssize_t n = 0;
  while ((n = ::read(fd, buffer.data(), buffer.size())) > 0) {
    all.append(buffer, 0, static_cast<std::size_t>(n));
  }
  const std::string result = n < 0 ? ErrnoName(errno) : Shortened(all);
  ::close(fd);
  return result;
}

// put PATH DATA [MODE]: a file with this content
std::string Put(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  const int fd = ::openat(at.directory, at.path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC,
                          w.size() > 2 ? static_cast<mode_t>(ParseNumber(w[2])) : 0644);
  if (fd < 0) return ErrnoName(errno);
  const std::string data = w[1] == "\"\"" ? "" : Machine::Expanded(w[1]);
  const std::string outcome = Outcome(::write(fd, data.data(), data.size()));
  ::close(fd);
  return outcome;
}

// add PATH DATA: appends through a descriptor of its own
std::string Add(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  const int fd = ::openat(at.directory, at.path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return ErrnoName(errno);
  const std::string data = Machine::Expanded(w[1]);
  const std::string outcome = Outcome(::write(fd, data.data(), data.size()));
  ::close(fd);
  return outcome;
}

// lseek SLOT OFFSET set|cur|end|data|hole
std::string Seek(Machine& m, Words w) {
  constexpr Flag kWhences[] = {{"set", SEEK_SET},
                               {"cur", SEEK_CUR},
                               {"end", SEEK_END},
                               {"data", SEEK_DATA},
                               {"hole", SEEK_HOLE}};
  return Number(
      ::lseek(m.Fd(w[0]), ParseNumber(w[1]), static_cast<int>(ParseFlags(w[2], kWhences))));
}

std::string GetFlags(Machine& m, Words w) {
  const int flags = ::fcntl(m.Fd(w[0]), F_GETFL);
  if (flags < 0) return ErrnoName(errno);
  std::string text;
  for (const Flag& flag : kOpenFlags) {
    const auto bits = static_cast<int>(flag.value);
    const bool access = flag.value <= O_RDWR;
    if (access ? (flags & O_ACCMODE) == bits : bits != 0 && (flags & bits) == bits) {
      text += (text.empty() ? "" : "|") + std::string(flag.name);
    }
  }
  return text;
}

std::string SetFlags(Machine& m, Words w) {
  return Outcome(::fcntl(m.Fd(w[0]), F_SETFL, static_cast<int>(ParseFlags(w[1], kOpenFlags))));
}

// --- mappings

sigjmp_buf bus_error;

void OnBusError(int) { siglongjmp(bus_error, 1); }

// Runs `touch`; "SIGBUS" if memory was not there.
template <class Touch>
std::string Touching(Touch touch) {
  struct sigaction action = {};
  action.sa_handler = OnBusError;
  ::sigaction(SIGBUS, &action, nullptr);
  if (sigsetjmp(bus_error, 1) != 0) return "SIGBUS";
  return touch();
}

const Mapping& Map(Machine& m, const std::string& slot) {
  const auto found = m.mappings.find(slot);
  if (found == m.mappings.end()) throw std::invalid_argument("no mapping '" + slot + "'");
  return found->second;
}

// mmap SLOT FILE r|w|x... shared|private LENGTH [OFFSET]
std::string MapFile(Machine& m, Words w) {
  int protection = PROT_NONE;
  if (w[2].find('r') != std::string::npos) protection |= PROT_READ;
  if (w[2].find('w') != std::string::npos) protection |= PROT_WRITE;
  if (w[2].find('x') != std::string::npos) protection |= PROT_EXEC;
  const std::size_t length = Size(w[4]);
  void* address = ::mmap(nullptr, length, protection, w[3] == "shared" ? MAP_SHARED : MAP_PRIVATE,
                         m.Fd(w[1]), w.size() > 5 ? ParseNumber(w[5]) : 0);
  if (address == MAP_FAILED) return ErrnoName(errno);
  m.mappings[w[0]] = {static_cast<char*>(address), length};
  return "ok";
}

// mread SLOT OFFSET LENGTH
std::string MapRead(Machine& m, Words w) {
  const Mapping& map = Map(m, w[0]);
  return Touching([&] { return Shortened({map.address + ParseNumber(w[1]), Size(w[2])}); });
}

// mwrite SLOT OFFSET DATA
std::string MapWrite(Machine& m, Words w) {
  const Mapping& map = Map(m, w[0]);
  const std::string data = Machine::Expanded(w[2]);
  return Touching([&] {
    std::copy(data.begin(), data.end(), map.address + ParseNumber(w[1]));
    return std::string("ok");
  });
}

std::string MapSync(Machine& m, Words w) {
  const Mapping& map = Map(m, w[0]);
  return Outcome(::msync(map.address, map.length, MS_SYNC));
}

std::string MapProtect(Machine& m, Words w) {
  const Mapping& map = Map(m, w[0]);
  return Outcome(
      ::mprotect(map.address, map.length, w[1] == "rw" ? PROT_READ | PROT_WRITE : PROT_READ));
}

std::string Unmap(Machine& m, Words w) {
  const Mapping map = Map(m, w[0]);
  m.mappings.erase(w[0]);
  return Outcome(::munmap(map.address, map.length));
}

// --- locks; none of them waits

// flock SLOT sh|ex|un
std::string Flock(Machine& m, Words w) {
  constexpr Flag kKinds[] = {{"sh", LOCK_SH}, {"ex", LOCK_EX}, {"un", LOCK_UN}};
  return Outcome(::flock(m.Fd(w[0]), static_cast<int>(ParseFlags(w[1], kKinds)) | LOCK_NB));
}

struct flock Range(Words w) {
  constexpr Flag kKinds[] = {{"r", F_RDLCK}, {"w", F_WRLCK}, {"u", F_UNLCK}};
  struct flock range = {};
  range.l_type = static_cast<short>(ParseFlags(w[1], kKinds));
  range.l_whence = SEEK_SET;
  range.l_start = ParseNumber(w[2]);
  range.l_len = ParseNumber(w[3]);
  return range;
}

// lock SLOT r|w|u START LENGTH
template <int kCommand>
std::string Lock(Machine& m, Words w) {
  struct flock range = Range(w);
  return Outcome(::fcntl(m.Fd(w[0]), kCommand, &range));
}

// getlock SLOT r|w START LENGTH: who is in the way
std::string GetLock(Machine& m, Words w) {
  struct flock range = Range(w);
  if (::fcntl(m.Fd(w[0]), F_GETLK, &range) != 0) return ErrnoName(errno);
  if (range.l_type == F_UNLCK) return "free";
  return std::string(range.l_type == F_RDLCK ? "read" : "write") + " " +
         std::to_string(range.l_start) + "+" + std::to_string(range.l_len) +
         (range.l_pid > 0 ? " pid" : " no pid");
}

// lease SLOT r|w|u
std::string Lease(Machine& m, Words w) {
  constexpr Flag kKinds[] = {{"r", F_RDLCK}, {"w", F_WRLCK}, {"u", F_UNLCK}};
  return Outcome(::fcntl(m.Fd(w[0]), F_SETLEASE, static_cast<int>(ParseFlags(w[1], kKinds))));
}

constexpr CallRow kCalls[] = {
    {"open", 3, 4, Open},
    {"reopen", 3, 3, Reopen},
    {"creat", 1, 2, Creat},
    {"close", 1, 1, Close},
    {"dup", 2, 2, Dup},
    {"read", 2, 2, Read},
    {"pread", 3, 3, ReadAt},
    {"write", 2, 2, Write},
    {"pwrite", 3, 3, WriteAt},
    {"writev", 2, 9, WriteVector},
    {"pwrite2", 4, 4, WriteAtFlags},
    {"cat", 1, 1, Cat},
    {"put", 2, 3, Put},
    {"add", 2, 2, Add},
    {"lseek", 3, 3, Seek},
    {"getfl", 1, 1, GetFlags},
    {"setfl", 2, 2, SetFlags},
    {"mmap", 5, 6, MapFile},
    {"mread", 3, 3, MapRead},
    {"mwrite", 3, 3, MapWrite},
    {"msync", 1, 1, MapSync},
    {"mprotect", 2, 2, MapProtect},
    {"munmap", 1, 1, Unmap},
    {"flock", 2, 2, Flock},
    {"lock", 4, 4, Lock<F_SETLK>},
    {"ofdlock", 4, 4, Lock<F_OFD_SETLK>},
    {"getlock", 4, 4, GetLock},
    {"lease", 2, 2, Lease},
};

}  // namespace

std::span<const CallRow> FileCalls() { return kCalls; }

}  // namespace strata::conformance
