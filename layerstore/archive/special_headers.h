// The headers that stand in front of a tar entry's own (pax records, long names), looked at before
// libarchive is.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::layerstore {

// libarchive 3.6 compares every entry of an ACL with all before it, and reads seconds and fraction
// of a negative time apart ("-1.5" becomes half a second before the epoch). So this finds ACLs that
// are too long before libarchive has them, and keeps what pax records say of times.
//
// Fed the archive from the start of an entry on, in pieces, until done(). Not thread-safe.
class SpecialHeaders {
 public:
  // Bytes of one entry's ACLs as text. Most filesystems keep some hundred ACL entries of a file,
  // Linux 8191.
  static constexpr std::size_t kAclTextMax = std::size_t{64} * 1024;
  // Of one special header; libarchive takes no more either.
  static constexpr std::uint64_t kHeaderMax = std::uint64_t{1} << 20U;

  // E2BIG: the archive must not be read on.
  Result<> Feed(std::string_view data);
  // The entry's own header, or the archive's end, has been seen.
  bool done() const { return done_; }

  // What pax records say, if that is before the epoch.
  const std::optional<struct timespec>& mtime() const { return mtime_; }
  const std::optional<struct timespec>& atime() const { return atime_; }

 private:
  Result<> TakeHeader();
  Result<> TakeRecords();
  Result<> AddAclText(std::uint64_t bytes);

  bool done_ = false;
  std::string block_;              // a header, or the records of a pax header
  bool records_ = false;           // which of the two
  std::uint64_t body_ = 0;         // bytes to come of a special header's body
  std::uint64_t passed_over_ = 0;  // bytes to come that say nothing
  std::uint64_t acl_text_ = 0;
  std::optional<struct timespec> mtime_;
  std::optional<struct timespec> atime_;
};

}  // namespace strata::layerstore
