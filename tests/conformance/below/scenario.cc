#include "tests/conformance/below/scenario.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file_ops.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/xattrs.h"

namespace strata::conformance {
namespace {

using support::AppendFile;
using support::EncodeAcl;
using support::MakeDir;
using support::Must;
using support::MustCall;
using support::OpenFile;
using support::SetXattr;
using support::WriteFile;

// mkfs.erofs 1.5 takes no longer ones.
constexpr std::size_t kLongName = 250;
constexpr std::size_t kBig = 300'000;
constexpr std::size_t kSparse = std::size_t{2} << 20;
constexpr std::string_view kAcl = "system.posix_acl_access";

void SetTime(const std::string& path, time_t seconds, long nanoseconds) {
  const struct timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  MustCall(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat");
}

void Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
  MustCall(::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags), "rename");
}

void Remove(const std::string& path) {
  MustCall(::remove(path.c_str()), ("remove " + path).c_str());
}

void Overwrite(const std::string& path, off_t at, std::string_view text) {
  MustCall(::pwrite(OpenFile(path, O_RDWR).get(), text.data(), text.size(), at), "pwrite");
}

void FillAttributes(const std::string& base) {
  MustCall(::link((base + "/link-a").c_str(), (base + "/d/link-b").c_str()), "link");
  MustCall(::link((base + "/link-a").c_str(), (base + "/d/sub/link-c").c_str()), "link");
  MustCall(::link((base + "/other-a").c_str(), (base + "/other-b").c_str()), "link");
  MustCall(::symlink("d/f", (base + "/symlink").c_str()), "symlink");
  MustCall(::symlink(std::string(200, 'x').c_str(), (base + "/d/dangling").c_str()), "symlink");
  MustCall(::lchown((base + "/symlink").c_str(), 1000, 1001), "lchown");
  MustCall(::mkfifo((base + "/fifo").c_str(), 0640), "mkfifo");
  WriteFile(base + "/" + std::string(kLongName, 'n'), "long");
  WriteFile(base + "/b\\a:c,\xff\xfe", "odd");
  WriteFile(base + "/owned", "x");
  MustCall(::chown((base + "/owned").c_str(), 1000, 1001), "chown");
  MustCall(::chmod((base + "/owned").c_str(), 06755), "chmod");
  MustCall(::chmod((base + "/d").c_str(), 01777), "chmod");
}

void FillXattrs(const std::string& base, const Holds& holds) {
  Must(SetXattr(base + "/d/g", "user.name", std::string("v\0\n", 3)));
  Must(SetXattr(base + "/d/g", "trusted.name", "t"));
  Must(SetXattr(base + "/move", "user.dir", std::string(200, 'd')));
  if (!holds.acls) return;
  for (const char* file : {"/d/g", "/d/f"}) {
    Must(SetXattr(base + file, std::string(kAcl),
                  EncodeAcl({{1, 6}, {2, 4, 1234}, {4, 4}, {16, 4}, {32, 4}})));
  }
}

void ChangeData(const std::string& dir) {
  AppendFile(dir + "/d/f", "+more");
  Overwrite(dir + "/big", 100'000, "in the middle");
  MustCall(::truncate((dir + "/short").c_str(), 100'001), "truncate");
  Overwrite(dir + "/sparse", 1 << 20, "in the hole");
  {
    const UniqueFd fd = OpenFile(dir + "/punched", O_RDWR);
    MustCall(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 65536),
             "fallocate");
    MustCall(::pwrite(OpenFile(dir + "/above", O_RDWR).get(), "A", 1, 70'000), "pwrite");
  }
  {
    const UniqueFd from = OpenFile(dir + "/source", O_RDONLY);
    const UniqueFd to = OpenFile(dir + "/copied", O_WRONLY | O_CREAT);
    off_t in = 10;
    MustCall(::copy_file_range(from.get(), &in, to.get(), nullptr, 90'000, 0), "copy_file_range");
  }
  MustCall(::chmod((dir + "/metadata").c_str(), 0600), "chmod");
  SetTime(dir + "/metadata", 1'234'567, 89);
}

void ChangeNames(const std::string& dir) {
  Remove(dir + "/d/gone");
  Remove(dir + "/empty");
  // An opaque directory: removed with all that is in it, and made again.
  for (const char* path : {"/opaque/sub/old", "/opaque/sub", "/opaque/old", "/opaque"}) {
    Remove(dir + path);
  }
  MakeDir(dir + "/opaque");
  MakeDir(dir + "/opaque/sub");
  WriteFile(dir + "/opaque/new", "new");
  // Redirects: within a directory, and then to another one; and of what was moved already.
  Rename(dir + "/move", dir + "/moving");
  Rename(dir + "/moving", dir + "/d/moved");
  Rename(dir + "/d/moved/inner", dir + "/inner-out");
  AppendFile(dir + "/d/moved/file", "+");
  MakeDir(dir + "/move");
  WriteFile(dir + "/move/file", "another");
  Rename(dir + "/x1", dir + "/x2", RENAME_EXCHANGE);
  Rename(dir + "/d/sub/deep", dir + "/risen");
  Rename(dir + "/over-from", dir + "/over-to");
  // A file where a directory was, and the other way round.
  Remove(dir + "/was-dir/in");
  Remove(dir + "/was-dir");
  WriteFile(dir + "/was-dir", "file now");
  Remove(dir + "/was-file");
  MakeDir(dir + "/was-file");
  WriteFile(dir + "/was-file/in", "in");
  Remove(dir + "/merged/base");
  WriteFile(dir + "/merged/base", "again");
  Rename(dir + "/merged", dir + "/merged-moved");
}

void ChangeAttributes(const std::string& dir) {
  AppendFile(dir + "/d/link-b", "+linked");
  Remove(dir + "/link-a");
  MustCall(::link((dir + "/d/sub/link-c").c_str(), (dir + "/link-d").c_str()), "link");
  MustCall(::chmod((dir + "/other-b").c_str(), 0600), "chmod");
  MustCall(::link((dir + "/d/g").c_str(), (dir + "/new-link").c_str()), "link");
  MustCall(::chown((dir + "/owned").c_str(), 0, 0), "chown");
  Rename(dir + "/symlink", dir + "/symlink-moved");
  MustCall(::lchown((dir + "/d/dangling").c_str(), 5, 6), "lchown");
  MustCall(::chmod((dir + "/fifo").c_str(), 0600), "chmod");
  AppendFile(dir + "/b\\a:c,\xff\xfe", "er");
  Rename(dir + "/" + std::string(kLongName, 'n'), dir + "/" + std::string(255, 'm'));
  MustCall(::symlink("anywhere", (dir + "/d/new-symlink").c_str()), "symlink");
  MustCall(::mkfifo((dir + "/new-fifo").c_str(), 0600), "mkfifo");
}

void ChangeXattrs(const std::string& dir, const Holds& holds) {
  Must(SetXattr(dir + "/d/g", "user.name", "changed"));
  Must(SetXattr(dir + "/d/f", "user.new", "n"));
  Must(SetXattr(dir + "/d/moved", "trusted.more", "m"));
  if (!holds.acls) return;
  MustCall(::removexattr((dir + "/d/g").c_str(), std::string(kAcl).c_str()), "removexattr");
}

void LinkUnnamed(const std::string& dir) {
  const UniqueFd fd = OpenFile(dir + "/d", O_RDWR | O_TMPFILE, 0640);
  MustCall(::pwrite(fd.get(), "unnamed", 7, 0), "pwrite");
  MustCall(::linkat(AT_FDCWD, ProcFdPath(fd.get()).c_str(), AT_FDCWD, (dir + "/d/named").c_str(),
                    AT_SYMLINK_FOLLOW),
           "linkat");
}

}  // namespace

std::string Pattern(std::size_t size, char seed) {
  std::string text(size, seed);
  for (std::size_t i = 0; i + 8 <= size; i += 512) {
    const std::string at = std::to_string(i);
    text.replace(i, at.size(), at);
  }
  return text;
}

void FillBase(const std::string& base, const Holds& holds) {
  for (const char* dir : {"/d", "/d/sub", "/empty", "/opaque", "/opaque/sub", "/move",
                          "/move/inner", "/x1", "/x2", "/was-dir", "/merged", "/hidden"}) {
    MakeDir(base + dir);
  }
  for (const char* file :
       {"/d/f", "/d/g", "/d/gone", "/d/sub/deep", "/opaque/old", "/opaque/sub/old", "/move/file",
        "/move/inner/a", "/x1/one", "/x2/two", "/was-dir/in", "/was-file", "/merged/base",
        "/hidden/in", "/over-from", "/over-to", "/link-a", "/other-a", "/untouched"}) {
    WriteFile(base + file, std::string("content of ") + file);
  }
  for (const char* file : {"/big", "/short", "/punched", "/source", "/metadata", "/above"}) {
    WriteFile(base + file, Pattern(kBig, file[1]));
  }
  WriteFile(base + "/sparse", "head");
  MustCall(::truncate((base + "/sparse").c_str(), kSparse), "truncate");
  Overwrite(base + "/sparse", kSparse - 100'000, "tail");
  if (holds.attributes) FillAttributes(base);
  if (holds.xattrs) FillXattrs(base, holds);
  SetTime(base + "/d/f", 1'000'000'000, holds.attributes ? 123'456'789 : 0);
  SetTime(base + "/d", 1'100'000'000, 0);
}

void FillAbove(const std::string& above, const Holds& holds) {
  for (const char* dir : {"/d", "/merged", "/only-above"}) MakeDir(above + dir);
  WriteFile(above + "/d/over", "over");
  WriteFile(above + "/merged/above", "above");
  WriteFile(above + "/only-above/f", "f");
  WriteFile(above + "/above", Pattern(kBig, 'A'));
  if (holds.attributes) MustCall(::chmod((above + "/d").c_str(), 01777), "chmod");
  SetTime(above + "/d", 1'100'000'000, 0);
  if (!holds.whiteouts) return;
  support::MakeWhiteout(above + "/hidden");
  MakeDir(above + "/x2");
  if (!holds.xattrs) return;
  Must(SetXattr(above + "/x2", "trusted.overlay.opaque", "y"));
  WriteFile(above + "/x2/new-two", "two");
}

void Change(const std::string& dir, const Holds& holds) {
  ChangeData(dir);
  ChangeNames(dir);
  LinkUnnamed(dir);
  if (holds.attributes) ChangeAttributes(dir);
  if (holds.xattrs) ChangeXattrs(dir, holds);
}

}  // namespace strata::conformance
