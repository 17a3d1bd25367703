#include <cerrno>

#include "tests/hostile/layers.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::hostile {
namespace {

using layerstore::UnpackLimits;
using support::Gzip;
using support::TarBuilder;
using support::TarMember;
using support::Zstd;

class Collector {
 public:
  void Add(const char* name, const TarBuilder& tar, int code, const char* says,
           const UnpackLimits& limits = {}) {
    layers_.push_back({name, tar.Finish(), code, says, limits});
  }
  void AddBytes(const char* name, std::string bytes, int code, const char* says,
                const UnpackLimits& limits = {}) {
    layers_.push_back({name, std::move(bytes), code, says, limits});
  }
  std::vector<HostileLayer> Take() { return std::move(layers_); }

 private:
  std::vector<HostileLayer> layers_;
};

TarMember Link(const std::string& name, const std::string& target) {
  return {.name = name, .type = '2', .link = target};
}
TarMember HardLink(const std::string& name, const std::string& target) {
  return {.name = name, .type = '1', .link = target};
}

// CVE-2014-6407, CVE-2021-32760, CVE-2025-11395, CVE-2026-17106: names and targets that lead out.
void AddWaysOut(Collector& out, const std::string& canary) {
  out.Add("dot-dot", TarBuilder().AddFile("../evil", "x"), EINVAL, "entry '../evil'");
  out.Add("dot-dot-canary", TarBuilder().AddFile("../../../../../canary/file", "owned"), EINVAL,
          "canary/file'");
  out.Add("dot-dot-inside", TarBuilder().AddFile("a/../../evil", "x"), EINVAL, "leads out");
  out.Add("dot-dot-directory", TarBuilder().AddDirectory("../../../../../canary", 0777), EINVAL,
          "leads out");
  out.Add("dot-dot-whiteout", TarBuilder().AddFile("../../../../../canary/.wh.file", ""), EINVAL,
          "leads out");
  out.Add("dot-dot-control", TarBuilder().AddFile("../\x1b[31mred", "x"), EINVAL,
          "entry '../\\x1b[31mred'");
  out.Add("hard-link-out", TarBuilder().Add(HardLink("h", "../../../../../canary/file")), EINVAL,
          "entry 'h'");
  out.Add("hard-link-absolute", TarBuilder().Add(HardLink("h", canary + "/file")), ENOENT,
          "hard link to '/");
  out.Add("hard-link-out-written", TarBuilder().Add(HardLink("h", "/etc/passwd")).AddFile("g", "x"),
          ENOENT, "hard link to '/etc/passwd'");
}

// A link, then something through it.
void AddThroughLinks(Collector& out, const std::string& canary) {
  for (const auto& [kind, target] : {std::pair("absolute", canary),
                                     std::pair("relative", std::string("../../../../../canary"))}) {
    const auto through = [&](const char* what, const TarMember& member, const char* says) {
      out.Add((std::string("link-") + kind + '-' + what).c_str(),
              TarBuilder().Add(Link("l", target)).Add(member), ELOOP, says);
    };
    through("file", {.name = "l/file", .content = "owned"}, "symlink in 'l'");
    through("new-file", {.name = "l/new", .content = "owned"}, "entry 'l/new'");
    through("directory", {.name = "l/directory/", .type = '5', .mode = 0777}, "symlink in 'l'");
    through("deep", {.name = "l/a/b/c", .content = "x"}, "entry 'l/a/b/c'");
    through("symlink", Link("l/s", "/etc"), "entry 'l/s'");
    through("hard-link", HardLink("h", "l/file"), "hard link to 'l/file'");
    through("fifo", {.name = "l/fifo", .type = '6'}, "entry 'l/fifo'");
    through("device", {.name = "l/dev", .type = '3', .major = 1, .minor = 3}, "entry 'l/dev'");
    through("whiteout", {.name = "l/.wh.file"}, "entry 'l/.wh.file'");
    through("opaque", {.name = "l/.wh..wh..opq"}, "symlink in 'l'");
    through("dots", {.name = "l/directory/../file", .content = "owned"}, "symlink in 'l'");
  }
  out.Add("link-to-root", TarBuilder().Add(Link("l", "/")).AddFile("l" + canary + "/file", "owned"),
          ELOOP, "symlink");
  out.Add("link-to-itself", TarBuilder().Add(Link("l", "l")).AddFile("l/x", "x"), ELOOP, "'l'");
  out.Add("link-to-here", TarBuilder().Add(Link("l", ".")).AddFile("l/x", "x"), ELOOP, "'l'");
  out.Add("link-chain",
          TarBuilder().Add(Link("a", "b")).Add(Link("b", canary)).AddFile("a/file", "owned"), ELOOP,
          "'a'");
  out.Add("link-below",
          TarBuilder().AddDirectory("d").Add(Link("d/up", "..")).AddFile("d/up/x", "x"), ELOOP,
          "symlink in 'd/up'");
  out.Add("hard-link-to-link",
          TarBuilder().Add(Link("s", canary)).Add(HardLink("h", "s")).AddFile("h/file", "owned"),
          ELOOP, "'h'");
  // The directory was open when it became a link.
  out.Add("directory-becomes-link",
          TarBuilder()
              .AddDirectory("d")
              .AddFile("d/first", "x")
              .Add(Link("d", canary))
              .AddFile("d/file", "owned"),
          ELOOP, "entry 'd/file'");
  out.Add(
      "parent-becomes-link",
      TarBuilder().AddFile("d/e/first", "x").Add(Link("d", canary)).AddFile("d/e/second", "owned"),
      ELOOP, "entry 'd/e/second'");
  out.Add("link-of-later-link",
          TarBuilder().Add(HardLink("d", "s")).AddFile("d/file", "owned").Add(Link("s", canary)),
          ENOTDIR, "'d' is not a directory");
}

void AddNonsense(Collector& out) {
  out.Add("file-as-directory", TarBuilder().AddFile("f", "x").AddFile("f/below", "x"), ENOTDIR,
          "entry 'f/below'");
  out.Add("root-is-file", TarBuilder().Add({.name = ".", .content = "x"}), EINVAL, "root");
  out.Add("whiteout-of-nothing", TarBuilder().AddFile("d/.wh.", ""), EINVAL, "entry 'd/.wh.'");
  out.Add("whiteout-of-dot", TarBuilder().AddFile("d/.wh..", ""), EINVAL, "whiteout of nothing");
  out.Add("whiteout-of-parent", TarBuilder().AddFile("d/.wh...", ""), EINVAL,
          "whiteout of nothing");
  out.Add("whiteout-directory", TarBuilder().AddFile(".wh.d/f", ""), EINVAL, "whiteout's name");
  out.Add("whiteout-device", TarBuilder().Add({.name = "w", .type = '3'}), EINVAL, "entry 'w'");
  out.Add("hard-link-to-directory", TarBuilder().AddDirectory("d").Add(HardLink("h", "d")), EPERM,
          "entry 'h'");
  out.Add("hard-link-to-whiteout", TarBuilder().AddFile(".wh.w", "").Add(HardLink("h", "w")), EPERM,
          "entry 'h'");
  out.Add("hard-link-to-marker", TarBuilder().Add(HardLink("h", "d/.wh..wh..opq")), EINVAL,
          "no file of a layer");
  out.Add("hard-link-to-root", TarBuilder().Add(HardLink("h", "/")), EINVAL, "no file of a layer");
  out.Add("hard-link-circle", TarBuilder().Add(HardLink("a", "b")).Add(HardLink("b", "a")), ENOENT,
          "hard link to");
  out.Add("hard-link-replaces-target", TarBuilder().AddFile("d/f", "x").Add(HardLink("d", "d/f")),
          ENOENT, "'d/f'");
  out.Add("owner", TarBuilder().Add({.name = "f", .pax = {{"uid", "4294967295"}}}), EINVAL,
          "owner");
  out.Add("owner-negative", TarBuilder().Add({.name = "f", .pax = {{"gid", "-1"}}}), EINVAL,
          "owner");
}

void AddBroken(Collector& out) {
  const std::string tar = TarBuilder().AddFile("f", std::string(5000, 'x')).Finish();
  out.AddBytes("no-tar", std::string(3000, 'n'), EBADMSG, "tar");
  out.AddBytes("cut-off", tar.substr(0, 2000), EBADMSG, "tar");
  out.AddBytes("cut-off-in-header", tar.substr(0, 300), EBADMSG, "tar");
  std::string sum = tar;
  sum[148] = static_cast<char>(sum[148] ^ 1);
  out.AddBytes("header-sum", sum, EBADMSG, "tar");
  const std::string gzip = Gzip(tar);
  out.AddBytes("gzip-cut-off", gzip.substr(0, gzip.size() - 9), EBADMSG, "");
  std::string checksum = gzip;
  checksum[checksum.size() - 5] = static_cast<char>(checksum[checksum.size() - 5] ^ 1);
  out.AddBytes("gzip-checksum", checksum, EBADMSG, "the checksum is wrong");
  out.AddBytes("gzip-in-gzip", Gzip(gzip), EBADMSG, "tar");
  const std::string zstd = Zstd(tar);
  out.AddBytes("zstd-cut-off", zstd.substr(0, zstd.size() - 3), EBADMSG, "");
  // A frame that wants a window of 1.75 TiB.
  out.AddBytes("zstd-window", std::string("\x28\xb5\x2f\xfd\x00\xf7\x01\x00\x00rest", 13), E2BIG,
               "zstd");
  out.AddBytes("zstd-dictionary", std::string("\x28\xb5\x2f\xfd\x03\x58\x01\x02\x03\x04rest", 14),
               EBADMSG, "zstd");
  out.AddBytes("xz", std::string("\xfd\x37zXZ\0more", 10), ENOTSUP, "xz is not supported");
  out.AddBytes("bzip2", "BZh91AY&SY more", ENOTSUP, "bzip2 is not supported");
}

// A header that promises a file of so many zeros, and the start of nothing.
std::string HeaderOfFile(const char* name, const std::string& size) {
  const std::string tar = TarBuilder().Add({.name = name, .pax = {{"size", size}}}).Finish();
  return tar.substr(0, tar.size() - 1024);
}

std::string Repeated(const std::string& piece, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += piece;
  return all;
}

// CVE-2017-14992. With the limits as they are unless that would take long.
void AddBombs(Collector& out) {
  constexpr std::size_t kPiece = std::size_t{16} << 20U;
  const std::string header = HeaderOfFile("zeros", std::to_string(20 * kPiece));
  const std::string zeros(kPiece, '\0');
  out.AddBytes("gzip-bomb", Gzip(header) + Repeated(Gzip(zeros), 20), E2BIG, "expand");
  out.AddBytes("zstd-bomb", Zstd(header) + Repeated(Zstd(zeros), 20), E2BIG, "expand");
  out.AddBytes("file-of-2-TiB", HeaderOfFile("f", "2199023255552"), E2BIG, "total-bytes");
  out.AddBytes("file-of-8-EiB", HeaderOfFile("f", "9223372036854775807"), EBADMSG,
               "header at byte 0");
  out.Add("holes-of-2-TiB",
          TarBuilder().Add({.name = "f",
                            .content = "1\n2199023255551\n1\n" + std::string(494, '\0') + "x",
                            .pax = {{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.name", "sparse"},
                                    {"GNU.sparse.realsize", "2199023255552"}}}),
          E2BIG, "entry 'sparse'");
  std::string map = "2000000\n";
  while (map.size() < std::size_t{8} << 20U) map += "0\n0\n";
  out.Add("holes-without-end",
          TarBuilder().Add({.name = "f",
                            .content = map,
                            .pax = {{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.name", "sparse"},
                                    {"GNU.sparse.realsize", "1"}}}),
          E2BIG, "headers of an entry");
  out.Add("entries", TarBuilder().AddFile("a", "").AddFile("b", "").AddFile("c", ""), E2BIG,
          "entry 'c': more than 2 entries; the limit is entries=2", {.entries = 2});
  out.Add("implied-directories", TarBuilder().AddFile("a/b/c/d/e", ""), E2BIG,
          "missing directories", {.entries = 4});
  out.Add("depth", TarBuilder().AddFile("a/b/c/d", ""), E2BIG, "path-depth=3", {.path_depth = 3});
  out.Add("name", TarBuilder().AddFile(std::string(256, 'n'), "x"), ENAMETOOLONG, "entry 'nnn");
  out.Add("path", TarBuilder().AddFile(Repeated(std::string(100, 'n') + '/', 170), ""), E2BIG,
          "path-bytes=16384");
  out.Add("names", TarBuilder().AddFile("abcd", "").Add(Link("s", "12345")), E2BIG,
          "entry 's': more than 9 bytes of names; the limit is name-bytes=9", {.name_bytes = 9});
  out.Add("long-name-of-2-MiB",
          TarBuilder().Add({.name = "L", .type = 'L', .content = std::string(2U << 20U, 'n')}),
          E2BIG, "extended header");
  out.Add("pax-header-of-2-MiB",
          TarBuilder().Add({.name = "f", .pax = {{"comment", std::string(2U << 20U, 'c')}}}), E2BIG,
          "extended header");
  out.Add("acl",
          TarBuilder().Add(
              {.name = "f",
               .pax = {{"SCHILY.acl.access", Repeated("user:1:rwx,", 8000) + "mask::rwx"}}}),
          E2BIG, "ACLs");
  TarMember attributes{.name = "f"};
  for (int i = 0; i < 257; ++i) {
    attributes.pax.emplace_back("SCHILY.xattr.user.n" + std::to_string(i), "v");
  }
  out.Add("attributes", TarBuilder().Add(attributes), E2BIG, "entry 'f': more than 256");
  out.Add("attribute-bytes",
          TarBuilder().Add({.name = "f", .pax = {{"SCHILY.xattr.user.n", "12345678"}}}), E2BIG,
          "xattr-bytes=13", {.xattr_bytes = 13});
  TarBuilder late;
  for (int i = 0; i < 100; ++i) late.Add(HardLink("h" + std::to_string(i), "never"));
  out.Add("late-links", late, E2BIG, "kept-bytes=5000", {.kept_bytes = 5000});
  TarBuilder replaced;
  for (int i = 0; i < 100; ++i) replaced.AddFile("f", "content");
  out.Add("replaced", replaced, E2BIG, "kept-bytes=5000", {.kept_bytes = 5000});
}

}  // namespace

std::vector<HostileLayer> HostileLayers(const std::string& canary) {
  Collector out;
  AddWaysOut(out, canary);
  AddThroughLinks(out, canary);
  AddNonsense(out);
  AddBroken(out);
  AddBombs(out);
  return out.Take();
}

}  // namespace strata::hostile
