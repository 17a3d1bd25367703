// The calls about a file's size and blocks: truncate, fallocate, copies within the kernel, sync.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conformance/posix/machine.h"

namespace strata::conformance {
namespace {

using Words = std::span<const std::string>;

std::string Truncate(Machine& m, Words w) {
  return Outcome(::truncate(m.At(w[0]).path, ParseNumber(w[1])));
}

std::string FdTruncate(Machine& m, Words w) {
  return Outcome(::ftruncate(m.Fd(w[0]), ParseNumber(w[1])));
}

std::string Sync(Machine& m, Words w) { return Outcome(::fsync(m.Fd(w[0]))); }
std::string SyncData(Machine& m, Words w) { return Outcome(::fdatasync(m.Fd(w[0]))); }
std::string SyncFs(Machine& m, Words w) { return Outcome(::syncfs(m.Fd(w[0]))); }

// fallocate SLOT MODE OFFSET LENGTH
std::string Allocate(Machine& m, Words w) {
  constexpr Flag kModes[] = {{"grow", 0},
                             {"keep", FALLOC_FL_KEEP_SIZE},
                             {"punch", FALLOC_FL_PUNCH_HOLE},
                             {"zero", FALLOC_FL_ZERO_RANGE},
                             {"collapse", FALLOC_FL_COLLAPSE_RANGE},
                             {"insert", FALLOC_FL_INSERT_RANGE},
                             {"bad", 0x40000000U}};
  return Outcome(::fallocate(m.Fd(w[0]), static_cast<int>(ParseFlags(w[1], kModes)),
                             ParseNumber(w[2]), ParseNumber(w[3])));
}

// copy FROM OFFSET TO OFFSET LENGTH [FLAGS]; "-" uses and moves the file's own position
std::string CopyRange(Machine& m, Words w) {
  off_t from = w[1] == "-" ? 0 : ParseNumber(w[1]);
  off_t to = w[3] == "-" ? 0 : ParseNumber(w[3]);
  return Number(::copy_file_range(m.Fd(w[0]), w[1] == "-" ? nullptr : &from, m.Fd(w[2]),
                                  w[3] == "-" ? nullptr : &to,
                                  static_cast<std::size_t>(ParseNumber(w[4])),
                                  w.size() > 5 ? static_cast<unsigned>(ParseNumber(w[5])) : 0));
}

// sendfile FROM OFFSET TO LENGTH
std::string SendFile(Machine& m, Words w) {
  off_t from = ParseNumber(w[1]);
  return Number(
      ::sendfile(m.Fd(w[2]), m.Fd(w[0]), &from, static_cast<std::size_t>(ParseNumber(w[3]))));
}

// layout SLOT: where data and holes are
std::string Layout(Machine& m, Words w) {
  const int fd = m.Fd(w[0]);
  std::string text;
  const off_t end = ::lseek(fd, 0, SEEK_END);
  for (off_t at = 0; at < end;) {
    const off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return ErrnoName(errno);
    text += (text.empty() ? "" : " ") + std::to_string(data) + "-" + std::to_string(hole);
    at = hole;
  }
  return (text.empty() ? "hole" : text) + " of " + std::to_string(end);
}

// sparse PATH: whether a file takes less room than its size
std::string Sparse(Machine& m, Words w) {
  struct stat st;
  if (::stat(m.At(w[0]).path, &st) != 0) return ErrnoName(errno);
  return st.st_blocks * 512 < st.st_size ? "sparse" : "full";
}

// advise SLOT: posix_fadvise(2) about all of it
std::string Advise(Machine& m, Words w) {
  const int code = ::posix_fadvise(m.Fd(w[0]), 0, 0, POSIX_FADV_DONTNEED);
  return code == 0 ? "ok" : ErrnoName(code);
}

constexpr CallRow kCalls[] = {
    {"truncate", 2, 2, Truncate},  {"ftruncate", 2, 2, FdTruncate}, {"fsync", 1, 1, Sync},
    {"fdatasync", 1, 1, SyncData}, {"syncfs", 1, 1, SyncFs},        {"fallocate", 4, 4, Allocate},
    {"copy", 5, 6, CopyRange},     {"sendfile", 4, 4, SendFile},    {"layout", 1, 1, Layout},
    {"sparse", 1, 1, Sparse},      {"advise", 1, 1, Advise},
};

}  // namespace

std::span<const CallRow> SpaceCalls() { return kCalls; }

}  // namespace strata::conformance
