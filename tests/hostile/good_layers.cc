#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <stdexcept>

#include "base/file_ops.h"
#include "tests/hostile/layers.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::hostile {
namespace {

using support::Lstat;
using support::Must;
using support::ReadFile;
using support::TarBuilder;
using support::TarMember;

void Need(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

TarMember Link(const std::string& name, const std::string& target) {
  return {.name = name, .type = '2', .link = target};
}
TarMember HardLink(const std::string& name, const std::string& target) {
  return {.name = name, .type = '1', .link = target};
}

bool SameFile(const std::string& a, const std::string& b) {
  return Lstat(a).st_ino == Lstat(b).st_ino;
}

std::string TargetOf(const std::string& path) {
  return Must(FileOps::System().ReadLink(AT_FDCWD, path.c_str()));
}

class Collector {
 public:
  void Add(const char* name, const TarBuilder& tar, std::function<void(const std::string&)> check) {
    layers_.push_back({name, tar.Finish(), std::move(check)});
  }
  std::vector<GoodLayer> Take() { return std::move(layers_); }

 private:
  std::vector<GoodLayer> layers_;
};

// What the fixes of CVE-2026-17106 refused at first, and its like.
void AddLinks(Collector& out, const std::string& canary) {
  out.Add("absolute-hard-link",
          TarBuilder().AddFile("usr/bin/a", "a").Add(HardLink("usr/bin/b", "/usr/bin/a")),
          [](const std::string& fs) { Need(SameFile(fs + "/usr/bin/a", fs + "/usr/bin/b"), "b"); });
  out.Add("hard-link-before-target", TarBuilder().Add(HardLink("b", "a")).AddFile("a", "a"),
          [](const std::string& fs) { Need(SameFile(fs + "/a", fs + "/b"), "b"); });
  out.Add("hard-link-to-symlink",
          TarBuilder().Add(Link("s", canary + "/file")).Add(HardLink("h", "s")),
          [](const std::string& fs) { Need(SameFile(fs + "/s", fs + "/h"), "h"); });
  out.Add("symlinks-to-anywhere",
          TarBuilder()
              .Add(Link("root", "/"))
              .Add(Link("up", "../../../.."))
              .Add(Link("dangling", "/no/such/file"))
              .Add(Link("itself", "itself"))
              .Add(Link("proc", "/proc/self/fd/1")),
          [](const std::string& fs) {
            Need(TargetOf(fs + "/up") == "../../../..", "up");
            Need(TargetOf(fs + "/proc") == "/proc/self/fd/1", "proc");
          });
  out.Add("symlink-becomes-directory",
          TarBuilder()
              .Add(Link("l", canary))
              .Add({.name = "l/", .type = '5', .mode = 0777, .uid = 9})
              .AddFile("l/file", "inside"),
          [](const std::string& fs) { Need(ReadFile(fs + "/l/file") == "inside", "l/file"); });
  out.Add("symlink-becomes-file",
          TarBuilder().Add(Link("l", canary + "/file")).AddFile("l", "inside"),
          [](const std::string& fs) { Need(ReadFile(fs + "/l") == "inside", "l"); });
  out.Add("symlink-with-attributes",
          TarBuilder().Add({.name = "l",
                            .type = '2',
                            .link = canary + "/file",
                            .mode = 0777,
                            .uid = 9,
                            .pax = {{"SCHILY.xattr.trusted.x", "y"}}}),
          [](const std::string& fs) { Need(Lstat(fs + "/l").st_uid == 9, "owner of l"); });
}

void AddNames(Collector& out) {
  out.Add("absolute-and-dotted",
          TarBuilder()
              .AddDirectory("./")
              .AddFile("/etc/strata-canary", "inside")
              .AddFile("//x/./y", "y")
              .AddFile("a/../b", "b"),
          [](const std::string& fs) {
            Need(ReadFile(fs + "/etc/strata-canary") == "inside", "etc/strata-canary");
            Need(ReadFile(fs + "/x/y") == "y" && ReadFile(fs + "/b") == "b", "x/y, b");
          });
  out.Add("almost-dots",
          TarBuilder()
              .AddFile("..a", "1")
              .AddFile("b..", "2")
              .AddFile("...", "3")
              .AddFile("d/..c../e", "4"),
          [](const std::string& fs) {
            Need(ReadFile(fs + "/...") == "3" && ReadFile(fs + "/d/..c../e") == "4", "dots");
          });
  out.Add("almost-whiteouts",
          TarBuilder().AddFile(".whatever", "1").AddFile("x.wh.y", "2").AddFile(".wh", "3"),
          [](const std::string& fs) {
            Need(ReadFile(fs + "/.whatever") == "1" && ReadFile(fs + "/x.wh.y") == "2" &&
                     ReadFile(fs + "/.wh") == "3",
                 "ordinary files");
          });
  out.Add("whiteouts-of-own-names",
          TarBuilder()
              .AddFile("own", "own")
              .AddFile(".wh.own", "")
              .AddDirectory("d")
              .AddFile("d/kept", "kept")
              .AddFile("d/.wh..wh..opq", ""),
          [](const std::string& fs) {
            Need(ReadFile(fs + "/own") == "own" && ReadFile(fs + "/d/kept") == "kept", "own");
          });
  std::string deep;
  for (int i = 0; i < 900; ++i) deep += "d/";
  out.Add("deep-and-long",
          TarBuilder().AddFile(deep + "f", "deep").AddFile(std::string(255, 'n'), "long"),
          [](const std::string& fs) {
            Need(ReadFile(fs + '/' + std::string(255, 'n')) == "long", "long");
          });
  out.Add(
      "bytes",
      TarBuilder().AddFile("caf\xe9-\xff", "1").AddFile("tab\there", "2").AddFile("new\nline", "3"),
      [](const std::string& fs) {
        Need(ReadFile(fs + "/caf\xe9-\xff") == "1" && ReadFile(fs + "/new\nline") == "3", "bytes");
      });
}

void AddKinds(Collector& out) {
  // chmod of device nodes was what a fix refused.
  out.Add("devices",
          TarBuilder()
              .Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3})
              .Add({.name = "loop", .type = '4', .mode = 0660, .major = 7, .minor = 9})
              .Add({.name = "pipe", .type = '6', .mode = 0600}),
          [](const std::string& fs) {
            Need(Lstat(fs + "/null").st_mode == (S_IFCHR | 0666U), "mode of null");
            Need(Lstat(fs + "/loop").st_rdev == makedev(7, 9), "number of loop");
          });
  out.Add("modes",
          TarBuilder()
              .AddDirectory("closed", 0)
              .AddFile("closed/f", "f")
              .Add({.name = "su", .content = "x", .mode = 06755})
              .AddDirectory("tmp", 01777),
          [](const std::string& fs) {
            Need((Lstat(fs + "/closed").st_mode & 07777U) == 0, "mode of closed");
            Need((Lstat(fs + "/su").st_mode & 07777U) == 06755, "mode of su");
          });
  out.Add("replacements",
          TarBuilder()
              .AddFile("f", "first")
              .AddFile("f", "second")
              .AddFile("d/a/b", "b")
              .AddFile("d", "file")
              .AddFile("g", "file")
              .AddDirectory("g")
              .AddFile("g/h", "h"),
          [](const std::string& fs) {
            Need(ReadFile(fs + "/f") == "second" && ReadFile(fs + "/d") == "file" &&
                     ReadFile(fs + "/g/h") == "h",
                 "the last");
          });
  out.Add("overlay-attributes",
          TarBuilder().Add({.name = "d/",
                            .type = '5',
                            .pax = {{"SCHILY.xattr.trusted.overlay.opaque", "y"},
                                    {"SCHILY.xattr.trusted.overlay.redirect", "/etc"}}}),
          [](const std::string& fs) {
            const auto xattrs = Must(support::ReadXattrs(fs + "/d"));
            Need(!xattrs.contains("trusted.overlay.opaque"), "not obeyed");
            Need(xattrs.contains("trusted.overlay.overlay.redirect"), "kept");
          });
  out.Add("holes-of-1-TiB-less-a-byte",
          TarBuilder().Add({.name = "f",
                            .content = "1\n1099511627774\n1\n" + std::string(494, '\0') + "x",
                            .pax = {{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.name", "sparse"},
                                    {"GNU.sparse.realsize", "1099511627775"}}}),
          [](const std::string& fs) {
            Need(Lstat(fs + "/sparse").st_size == 1099511627775, "size");
            Need(Lstat(fs + "/sparse").st_blocks < 1000, "holes");
          });
  out.Add("times",
          TarBuilder()
              .Add({.name = "f", .pax = {{"mtime", "-1.5"}}})
              .Add({.name = "g", .pax = {{"mtime", "15000000000.5"}}}),
          [](const std::string& fs) {
            Need(Lstat(fs + "/f").st_mtim.tv_sec == -2, "before the epoch");
          });
  out.Add("nothing", TarBuilder(),
          [](const std::string& fs) { Need(support::List(fs).empty(), "nothing"); });
}

}  // namespace

std::vector<GoodLayer> GoodLayers(const std::string& canary) {
  Collector out;
  AddLinks(out, canary);
  AddNames(out);
  AddKinds(out);
  return out.Take();
}

}  // namespace strata::hostile
