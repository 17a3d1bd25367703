#include "tests/property/layers/random_layers.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "tests/property/layers/tar_encoder.h"
#include "tests/property/random.h"

namespace strata::property {
namespace {

using Form = LayerEntry::Form;
using Kind = LayerEntry::Kind;
using Sparse = LayerEntry::Sparse;

constexpr std::string_view kOddName[] = {
    "with blank",
    "new\nline",
    "back\\slash",
    "\xff\xfe\x80 no UTF-8",
    "\xc3\xa4\xe2\x82\xac",
    "..data",
    "-rf",
    "*",
    ":a,b=c",
    "trailing ",
};

class RandomLayers {
 public:
  RandomLayers(std::uint64_t seed, const RandomLayersOptions& options)
      : random_(seed), options_(options) {
    explicit_parents_ = random_.Chance(70);
    small_ids_ = random_.Chance(60);
    odd_times_ = random_.Chance(15);
    once_ = random_.Chance(options.for_peers ? 70 : 20);
    detours_ = !once_ && random_.Chance(15);
    xattrs_ = random_.Chance(30);
    trusted_ = random_.Chance(30);
    names_ = {"a", "b", "c"};
    directories_ = {"d", "e"};
    if (random_.Chance(20)) {
      names_.emplace_back(kOddName[random_.Below(std::size(kOddName))]);
      Note("odd name");
    }
    if (random_.Chance(15)) {
      names_.emplace_back(std::string(random_.Pick<std::size_t>({99, 100, 101, 150, 255}), 'n'));
      Note("long name");
    }
    if (random_.Chance(10)) {
      directories_.emplace_back(
          std::string(static_cast<std::size_t>(random_.Between(60, 250)), 'l'));
      Note("long name");
    }
  }

  LayerCase Make() {
    const auto layers = random_.Pick({1, 2, 2, 2, 3});
    for (int i = 0; i < layers; ++i) MakeLayer();
    return std::move(case_);
  }

 private:
  void Note(const char* oddity) { case_.oddities.insert(oddity); }

  void MakeLayer() {
    entries_.clear();
    own_.clear();
    wanted_.clear();
    used_.clear();
    latest_.clear();
    if (!(once_ && options_.for_peers) && random_.Chance(50)) AddRoot();
    const auto count = random_.Between(1, 12);
    for (std::int64_t i = 0; i < count; ++i) AddAny();
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      if (own_.contains(wanted_[i]) || random_.Chance(5)) continue;
      AddFile(wanted_[i]);
    }
    for (const auto& [path, kind] : own_) known_[path] = kind;
    case_.layers.push_back(std::move(entries_));
  }

  // Few, so that names meet.
  std::string NewPath() {
    std::string path;
    for (auto depth = random_.Below(3); depth > 0; --depth)
      path += random_.Pick(directories_) + '/';
    return path + (random_.Chance(12) ? random_.Pick(directories_) : random_.Pick(names_));
  }

  // Mostly where nothing on the way is a file of the layer.
  std::string Path() {
    for (int attempt = 0; attempt < 5; ++attempt) {
      std::string path = NewPath();
      if (Reachable(path) || random_.Chance(2)) return path;
    }
    return random_.Pick(names_);
  }

  bool Reachable(const std::string& path) const {
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      const auto it = own_.find(path.substr(0, slash));
      if (it != own_.end() && it->second != Kind::kDirectory) return false;
    }
    return true;
  }

  // Of the layer's own, or of lower ones; "" if there is none.
  std::string KnownPath(bool own, bool directories) {
    std::vector<std::string> found;
    for (const auto& [path, kind] : own ? own_ : known_) {
      if ((kind == Kind::kDirectory) == directories) found.push_back(path);
    }
    return found.empty() ? std::string() : random_.Pick(found);
  }

  void AddAny() {
    switch (random_.Below(20)) {
      case 0:
      case 1:
      case 2:
        return AddDirectory(DirectoryPath());
      case 3:
      case 4:
        return AddSymlink();
      case 5:
      case 6:
      case 7:
        return AddHardLink();
      case 8:
        return AddSpecial();
      case 9:
      case 10:
      case 11:
        return AddWhiteout();
      case 12:
        return AddOpaque();
      case 13:
        return random_.Chance(30) ? AddReserved() : AddFile(Path());
      case 14:
        return random_.Chance(30) ? AddRefused() : AddSparse();
      case 15:
        return AddDuplicate();
      default:
        return AddFile(Path());
    }
  }

  std::string DirectoryPath() {
    std::string path;
    for (auto depth = random_.Between(1, 3); depth > 0; --depth) {
      path += (path.empty() ? "" : "/") + random_.Pick(directories_);
    }
    return random_.Chance(5) ? Path() : path;
  }

  void AddParents(const std::string& path) {
    if (!explicit_parents_) return;
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      const std::string parent = path.substr(0, slash);
      if (!own_.contains(parent)) AddDirectory(parent);
    }
  }

  void AddRoot() {
    LayerEntry entry = NewEntry(".", Kind::kDirectory);
    entry.lead = "";
    entry.path = "./";
    entry.mode = random_.Pick({0755U, 0755U, 0700U, 01777U});
    Push(std::move(entry));
  }

  void AddDirectory(const std::string& path) {
    AddParents(path);
    LayerEntry entry = NewEntry(path, Kind::kDirectory);
    entry.mode = random_.Pick({0755U, 0755U, 0700U, 01777U, 02755U, 0U, 0555U});
    if (!options_.for_peers && random_.Chance(10)) {
      entry.default_acl = "user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::---";
      Note("default ACL");
    }
    // v7 has no other way, in the other forms some leave it out.
    if (random_.Chance(85)) entry.path += '/';
    Push(std::move(entry));
    Own(path, Kind::kDirectory);
  }

  std::string Content() {
    const std::size_t size = random_.Pick<std::size_t>({0, 0, 1, 10, 511, 512, 513, 3000});
    std::string content(size, random_.Pick({'x', 'y', '\0'}));
    if (size > 0) content.back() = static_cast<char>(random_.Next());
    return content;
  }

  void AddFile(const std::string& path) {
    AddParents(path);
    LayerEntry entry = NewEntry(path, Kind::kFile);
    entry.mode = random_.Pick({0644U, 0644U, 0600U, 0755U, 04755U, 02755U, 06711U, 0U, 01644U});
    entry.content = Content();
    entry.old_type = random_.Chance(10);
    if (random_.Chance(8)) {
      // Version 2: effective, one permitted capability, none inheritable.
      std::string value(20, '\0');
      value[0] = 1;
      value[3] = 2;
      value[5] = 4;
      entry.xattrs["security.capability"] = value;
      Note("capability");
    }
    if (!options_.for_peers && random_.Chance(8)) {
      entry.acl = random_.Pick<std::string>(
          {"user::rw-,user:1000:r--,group::r--,mask::rwx,other::---",
           "user::rwx,user:7:rwx:7,group::r-x,other::r--", "user::r--,group::rw-,other::---",
           "user::rw-,group::r--,group:12:-w-,mask::r--,other::r--"});
      entry.mode = entry.mode & 07000U;
      entry.mode |= ModeOf(entry.acl);
      Note("ACL");
    }
    Push(std::move(entry));
    Own(path, Kind::kFile);
  }

  // What ACL and mode agree on in archives of tar and others.
  static unsigned ModeOf(std::string_view acl) {
    const auto bits = [&](std::string_view key) {
      const std::string_view text = acl.substr(acl.find(key) + key.size(), 3);
      return (text[0] == 'r' ? 4U : 0U) | (text[1] == 'w' ? 2U : 0U) | (text[2] == 'x' ? 1U : 0U);
    };
    return bits("user::") << 6U | bits("group::") << 3U | bits("other::");
  }

  void AddSparse() {
    const std::string path = Path();
    AddParents(path);
    LayerEntry entry = NewEntry(path, Kind::kFile);
    entry.sparse = random_.Pick({Sparse::kGnu, Sparse::kPax00, Sparse::kPax01, Sparse::kPax10});
    entry.form = Form::kPax;
    if (entry.sparse == Sparse::kGnu) {  // which has no records
      entry.form = Form::kGnu;
      entry.xattrs.clear();
      entry.mtime.tv_nsec = 0;
      Note("old GNU sparse");
    }
    std::size_t end = 0;
    for (auto parts = random_.Pick({0, 1, 2, 3, 5, 30}); parts > 0; --parts) {
      const std::size_t at = end + 512 * random_.Below(20);
      const std::size_t size = 512 * random_.Below(4) + random_.Pick<std::size_t>({0, 0, 0, 100});
      entry.data.emplace_back(at, size);
      entry.content.resize(at, '\0');
      entry.content.append(size, 's');
      end = (at + size + 511) / 512 * 512;
    }
    // GNU tar tells the size by a part of none at the end, and always has one.
    if (random_.Chance(50) || entry.data.empty()) {
      entry.content.resize(end + random_.Below(5000), '\0');
      entry.data.emplace_back(entry.content.size(), 0);
    }
    Note("sparse");
    Push(std::move(entry));
    Own(path, Kind::kFile);
  }

  void AddSymlink() {
    const std::string path = Path();
    AddParents(path);
    LayerEntry entry = NewEntry(path, Kind::kSymlink);
    entry.mode = 0777;
    entry.link = random_.Chance(40) ? "/" + NewPath() : "../" + NewPath();
    if (random_.Chance(10))
      entry.link = std::string(static_cast<std::size_t>(random_.Between(90, 300)), 't');
    Push(std::move(entry));
    Own(path, Kind::kSymlink);
  }

  void AddHardLink() {
    const std::string path = Path();
    std::string target;
    if (random_.Chance(80)) target = KnownPath(true, false);
    if (target.empty() && random_.Chance(15)) target = KnownPath(false, false);
    if (target.empty()) {
      if (options_.for_peers) return AddFile(path);
      target = Path();
      wanted_.push_back(target);
    }
    AddParents(path);
    LayerEntry entry = NewEntry(path, Kind::kHardLink);
    LikeTarget(entry, target);
    entry.link = target;
    entry.link_lead = random_.Pick<std::string>({"", "", "./", "/"});
    if (entry.link_lead == "/") Note("absolute hard-link target");
    Push(std::move(entry));
    const auto kind = own_.find(target);
    Own(path, kind == own_.end() ? Kind::kFile : kind->second);
  }

  // Links say of attributes what their target's entry says.
  void LikeTarget(LayerEntry& entry, const std::string& target) const {
    const auto it = latest_.find(target);
    if (it == latest_.end()) return;
    const LayerEntry& other = entries_[it->second];
    entry.mode = other.mode;
    entry.uid = other.uid;
    entry.gid = other.gid;
    entry.mtime = other.mtime;
    entry.xattrs = other.xattrs;
    entry.form = other.form;
  }

  void AddSpecial() {
    const std::string path = Path();
    AddParents(path);
    LayerEntry entry =
        NewEntry(path, random_.Pick({Kind::kCharDevice, Kind::kBlockDevice, Kind::kFifo}));
    if (entry.kind != Kind::kFifo) {
      entry.device_major = static_cast<unsigned>(random_.Between(1, 300));
      entry.device_minor = static_cast<unsigned>(random_.Pick({0, 1, 255, 256, 70000}));
      Note("device");
    }
    entry.mode = random_.Pick({0600U, 0666U});
    Push(std::move(entry));
    Own(path, Kind::kFifo);
  }

  void AddWhiteout() {
    std::string path;
    const auto where = random_.Below(10);
    if (where < 6) path = KnownPath(false, random_.Chance(30));
    if (where >= 8) path = KnownPath(true, random_.Chance(30));
    if (path.empty() || (!Reachable(path) && !random_.Chance(2))) path = Path();
    AddParents(path);
    const std::size_t slash = path.rfind('/') + 1;
    if (path.size() - slash > 250) return;
    AddMarker(path.insert(slash, ".wh."));
    Note("whiteout");
  }

  void AddOpaque() {
    if (random_.Chance(8)) return AddMarker(".wh..wh..opq");
    std::string path = KnownPath(random_.Chance(50), true);
    if (path.empty() || (!Reachable(path + "/x") && !random_.Chance(2))) path = DirectoryPath();
    if (!Reachable(path + "/x") && !random_.Chance(2)) return;
    AddParents(path + "/x");
    AddMarker(path + "/.wh..wh..opq");
    Note("opaque");
  }

  void AddReserved() {
    AddMarker(random_.Pick<std::string>({".wh..wh.aufs", "d/.wh..wh.orph"}));
    Note("aufs");
  }

  void AddMarker(const std::string& path) {
    LayerEntry entry = NewEntry(path, Kind::kFile);
    entry.xattrs.clear();
    entry.old_type = random_.Chance(10);
    Push(std::move(entry));
  }

  // What nothing may come of.
  void AddRefused() {
    if (options_.for_peers) return;
    LayerEntry entry = NewEntry(Path(), Kind::kFile);
    switch (random_.Below(6)) {
      case 0:
        entry.path = random_.Pick<std::string>({"../a", "d/../../a", ".."});
        break;
      case 1:
        entry.path = random_.Pick<std::string>({".wh.", "d/.wh..", ".wh...", ".wh.a/b"});
        break;
      case 2:
        entry.kind = Kind::kCharDevice;
        break;
      case 3:
        entry.kind = Kind::kHardLink;
        entry.link = random_.Pick<std::string>({"", "/", ".", "../a", ".wh.a", "nowhere", "d"});
        break;
      case 4:
        entry.path = std::string(256, 'n');
        break;
      default:
        entry.path = "d/..";
        break;
    }
    entry.form = Form::kPax;
    Push(std::move(entry));
  }

  // Once more, as it was or as something else.
  void AddDuplicate() {
    const std::string path = KnownPath(true, random_.Chance(40));
    if (path.empty() || !Reachable(path)) return AddFile(Path());
    Note("duplicate");
    if (random_.Chance(50)) return AddFile(path);
    AddDirectory(path);
  }

  struct timespec Time(Form form) {
    struct timespec time{random_.Between(1'000'000'000, 1'700'000'000), 0};
    if (form == Form::kPax && random_.Chance(60)) {
      time.tv_nsec = random_.Pick({1L, 500'000'000L, 999'999'999L, 123'456'789L, 120L});
    }
    if (random_.Chance(5)) {
      time.tv_sec = random_.Pick<std::int64_t>({0, 1, 0x7fffffff, 0x80000000, 0xffffffff});
    }
    if (form == Form::kPax || form == Form::kGnu) {
      if (odd_times_ && random_.Chance(20)) {
        time.tv_sec = random_.Pick<std::int64_t>({-1, -2, -1'000'000'000, -2'147'483'647});
        Note("time before 1970");
      }
      if (odd_times_ && random_.Chance(20)) {
        time.tv_sec = random_.Pick<std::int64_t>({0x100000000, 9'999'999'999, 15'032'385'535});
        time.tv_nsec = 0;
        Note(time.tv_sec == 0x100000000 ? "time after 2106" : "time after 2262");
      }
    }
    return time;
  }

  std::uint32_t Id() {
    if (small_ids_ || !random_.Chance(20))
      return static_cast<std::uint32_t>(random_.Pick({0, 0, 1, 1000}));
    return random_.Pick<std::uint32_t>({65534, 2097151, 2097152, 0x7fffffff, 0xfffffffe});
  }

  std::map<std::string, std::string> Xattrs(Kind kind) {
    std::map<std::string, std::string> xattrs;
    if (!xattrs_ || !random_.Chance(30)) return xattrs;
    Note("xattr");
    const bool user = kind == Kind::kFile || kind == Kind::kDirectory;
    if (user)
      xattrs["user.a"] = random_.Pick<std::string>({"", "value", std::string("\0\n=\xff", 4)});
    if (user && xattrs["user.a"].empty()) Note("empty xattr");
    if (trusted_ && random_.Chance(50)) {
      xattrs["trusted.b"] = "trusted";
      Note("trusted xattr");
    }
    if (user && !options_.for_peers && random_.Chance(15)) {
      xattrs[random_.Pick<std::string>({"trusted.overlay.opaque", "user.overlay.opaque",
                                        "trusted.overlay.redirect", "user.overlay.overlay.x"})] =
          "y";
      Note("overlay xattr");
    }
    if (!options_.for_peers && random_.Chance(10)) xattrs["security.selinux"] = "not kept";
    return xattrs;
  }

  LayerEntry NewEntry(const std::string& path, Kind kind) {
    LayerEntry entry{.path = path, .kind = kind};
    entry.lead = random_.Pick<std::string>({"", "", "", "./", "/"});
    entry.form = random_.Pick({Form::kV7, Form::kUstar, Form::kGnu, Form::kPax, Form::kPax});
    entry.mtime = Time(entry.form);
    entry.uid = Id();
    entry.gid = Id();
    if (entry.form == Form::kPax) entry.xattrs = Xattrs(kind);
    if (!options_.for_peers && entry.form == Form::kPax && random_.Chance(10)) {
      entry.libarchive_xattrs = true;
    }
    entry.base256 = random_.Chance(10);
    if (detours_ && random_.Chance(25)) entry.path = Detour(entry.path);
    return entry;
  }

  // Another spelling.
  std::string Detour(const std::string& path) {
    Note("detour");
    const std::size_t slash = path.find('/');
    if (slash == std::string::npos) return random_.Pick<std::string>({"b/../", "./", "/"}) + path;
    return path.substr(0, slash) + random_.Pick<std::string>({"//", "/./", "/a/../"}) +
           path.substr(slash + 1);
  }

  // In the next form that can say it, unless there is one of the name already and may not be two.
  void Push(LayerEntry entry) {
    const std::string name = entry.path.substr(0, entry.path.find_last_not_of('/') + 1);
    dropped_ = !used_.insert(name).second && once_;
    if (dropped_) return;
    for (const Form form : {entry.form, Form::kUstar, Form::kGnu, Form::kPax}) {
      entry.form = form;
      if (TarEncoder::CanWrite(entry, options_.prefix)) break;
    }
    if (entry.form == Form::kV7 || entry.form == Form::kGnu) {
      Note(entry.form == Form::kV7 ? "v7" : "GNU");
    }
    entries_.push_back(std::move(entry));
  }

  void Own(const std::string& path, Kind kind) {
    if (dropped_) return;
    if (kind != Kind::kDirectory) {
      std::erase_if(own_, [&](const auto& other) { return other.first.starts_with(path + '/'); });
    }
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      own_.try_emplace(path.substr(0, slash), Kind::kDirectory);
    }
    own_[path] = kind;
    latest_[path] = entries_.size() - 1;
  }

  Random random_;
  const RandomLayersOptions options_;
  std::vector<std::string> names_;
  std::vector<std::string> directories_;
  bool explicit_parents_ = false;
  // What only some cases have.
  bool small_ids_ = false;
  bool odd_times_ = false;
  bool once_ = false;  // no name twice in a layer
  bool detours_ = false;
  bool xattrs_ = false;
  bool trusted_ = false;
  LayerCase case_;
  LayerEntries entries_;                       // of the layer that is being made
  std::map<std::string, Kind> own_;            // of the layer
  std::map<std::string, Kind> known_;          // of those below
  std::map<std::string, std::size_t> latest_;  // the last entry of a name
  std::set<std::string> used_;                 // names of entries of the layer
  bool dropped_ = false;                       // what was made last
  std::vector<std::string> wanted_;            // targets that links were made to before them
};

}  // namespace

LayerCase MakeRandomLayers(std::uint64_t seed, const RandomLayersOptions& options) {
  return RandomLayers(seed, options).Make();
}

}  // namespace strata::property
