#include <algorithm>
#include <cerrno>

#include "tests/hostile/archives.h"

namespace strata::hostile {
namespace {

using support::TarBuilder;
using support::TarMember;
using Change = std::function<void(std::string&)>;

const std::string& Layer() {
  static const std::string tar = TarBuilder().AddFile("f", "content").Finish();
  return tar;
}

ImageSpec Spec() { return ImageSpec::Of(Layer()); }

Change Put(const std::string& what, const std::string& by) {
  return [=](std::string& text) { Replace(text, what, by); };
}

Change Become(const std::string& by) {
  return [=](std::string& text) { text = by; };
}

TarMember File(const std::string& name, const std::string& content) {
  return {.name = name, .content = content};
}

TarMember Link(const std::string& name, const std::string& target) {
  return {.name = name, .type = '2', .link = target};
}

std::string Hex(const std::string& bytes) { return Digest::Of(bytes).Hex(); }

// In the place of the member of that name, or at the end.
Members With(Members members, const TarMember& member) {
  const auto place = std::ranges::find(members, member.name, &TarMember::name);
  if (place != members.end()) {
    *place = member;
  } else {
    members.push_back(member);
  }
  return members;
}

Members Without(Members members, const std::string& name) {
  std::erase_if(members, [&](const TarMember& one) { return one.name == name; });
  return members;
}

std::string Repeated(const std::string& piece, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += piece;
  return all;
}

class Collector {
 public:
  // Refused alike in every form, OCI layouts from a registry, too.
  void Add(const std::string& name, Members members, const Refusal& all) {
    const Refusal pull = name.starts_with("oci-") ? all : Refusal{};
    archives_.push_back({name, std::move(members), all, all, pull, {}});
  }
  void Add(const std::string& name, Members members, const Refusal& tar, const Refusal& directory,
           const layerstore::UnpackLimits& limits = {}) {
    archives_.push_back({name, std::move(members), tar, directory, {}, limits});
  }
  // What a registry's client says of the last one instead.
  void WhenPulled(const Refusal& pull) { archives_.back().pull = pull; }
  std::vector<HostileArchive> Take() { return std::move(archives_); }

 private:
  std::vector<HostileArchive> archives_;
};

Members Docker(Change index) {
  ImageSpec spec = Spec();
  spec.index = std::move(index);
  return DockerArchive(spec);
}
Members DockerConfig(Change config) {
  ImageSpec spec = Spec();
  spec.config = std::move(config);
  return DockerArchive(spec);
}
Members OciIndex(Change index) {
  ImageSpec spec = Spec();
  spec.index = std::move(index);
  return OciLayout(spec);
}
Members OciManifest(Change manifest) {
  ImageSpec spec = Spec();
  spec.manifest = std::move(manifest);
  return OciLayout(spec);
}
Members OciConfig(Change config) {
  ImageSpec spec = Spec();
  spec.config = std::move(config);
  return OciLayout(spec);
}

// Names of files that lead out of the archive.
void AddNames(Collector& out) {
  const auto places = [&](const char* name, const std::string& path) {
    out.Add(std::string("docker-config-") + name, Docker(Put("config.json", path)),
            {ENOENT, "is not in the archive"}, {EXDEV, "leads out of the layout"});
    out.Add(std::string("docker-layer-") + name, Docker(Put("layer.tar", path)),
            {ENOENT, "is not in the archive"}, {EXDEV, "leads out of the layout"});
  };
  places("dot-dot", "../canary/file");
  places("absolute", "/etc/passwd");
  out.Add("docker-layer-control", Docker(Put("layer.tar", R"(\u001b[31m)")), {ENOENT, "\\x1b[31m"});
  out.Add("docker-layer-nul", Docker(Put("layer.tar", R"(layer.tar\u0000x)")),
          {ENOENT, "layer.tar\\x00x"}, {EINVAL, "layer.tar\\x00x"});
  out.Add("docker-layer-is-a-directory", With(Docker(nullptr), {.name = "layer.tar", .type = '5'}),
          {ENOENT, "layer.tar"}, {EINVAL, "layer.tar is not a regular file"});
  out.Add("docker-layer-is-a-fifo", With(Docker(nullptr), {.name = "layer.tar", .type = '6'}),
          {ENOENT, "layer.tar"}, {EINVAL, "layer.tar is not a regular file"});
  out.Add("docker-layer-link-out", With(Docker(nullptr), Link("layer.tar", "../canary/file")),
          {EINVAL, "entry 'layer.tar'"}, {EXDEV, "layer.tar leads out"});
  out.Add("docker-layer-link-absolute", With(Docker(nullptr), Link("layer.tar", "/etc/passwd")),
          {ENOENT, "layer.tar"}, {EXDEV, "layer.tar leads out"});
  out.Add("docker-layer-link-circle",
          With(With(Docker(nullptr), Link("layer.tar", "other")), Link("other", "layer.tar")),
          {ELOOP, "layer.tar"});
  out.Add("docker-member-out", With(Docker(nullptr), File("../canary/file", "owned")),
          {EINVAL, "entry '../canary/file'"}, {});
  out.Add("docker-hard-link-out",
          With(Docker(nullptr), {.name = "layer.tar", .type = '1', .link = "../canary/file"}),
          {EINVAL, "entry 'layer.tar'"}, {});
  out.Add("docker-index-link-out", With(Docker(nullptr), Link("manifest.json", "../canary/file")),
          {EINVAL, "entry 'manifest.json'"}, {EXDEV, "manifest.json leads out"});
  const std::string blob = "blobs/sha256/" + Hex(Layer());
  out.Add("oci-blob-link-out", With(OciIndex(nullptr), Link(blob, "../../../canary/file")),
          {EINVAL, "entry 'blobs/sha256/"}, {EXDEV, "leads out of the layout"});
  out.Add("oci-blob-is-a-fifo", With(OciIndex(nullptr), {.name = blob, .type = '6'}),
          {ENOENT, blob}, {EINVAL, "is not a regular file"});
  out.Add("oci-index-link-out", With(OciIndex(nullptr), Link("index.json", "../canary/file")),
          {EINVAL, "entry 'index.json'"}, {EXDEV, "index.json leads out"});
  out.Add("oci-blobs-link-out",
          Members{File("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"), OciIndex(nullptr)[1],
                  Link("blobs", "../canary")},
          {EINVAL, "entry 'blobs'"}, {EXDEV, "leads out"});
}

// CVE-2014-8178, CVE-2024-3727, CVE-2025-24882: digests that are paths, or of something else.
void AddDigests(Collector& out) {
  const BuiltImage image = Build(Spec());
  const std::string manifest = Digest::Of(image.manifest).ToString();
  const std::string layer = Digest::Of(Layer()).ToString();
  for (const auto& [name, digest] :
       {std::pair("path", std::string("sha256:../../../canary/file")),
        std::pair("short", std::string("sha256:abcd")),
        std::pair("upper", "sha256:" + std::string(64, 'A')),
        std::pair("other", "sha512:" + std::string(128, 'a')),
        std::pair("control", "sha256:\\u001b" + std::string(63, 'a'))}) {
    const Refusal refusal{EINVAL, "digest"};
    out.Add(std::string("oci-index-digest-") + name, OciIndex(Put(manifest, digest)), refusal);
    out.Add(std::string("oci-layer-digest-") + name, OciManifest(Put(layer, digest)), refusal);
    out.Add(std::string("oci-diff-id-") + name, OciConfig(Put(layer, digest)),
            {EINVAL, "diff_ids"});
    out.Add(std::string("docker-diff-id-") + name, DockerConfig(Put(layer, digest)),
            {EINVAL, "diff_ids"});
  }
  out.Add("docker-diff-id-of-another", DockerConfig(Put(layer, "sha256:" + std::string(64, 'a'))),
          {EBADMSG, "layer layer.tar"});
  out.Add("oci-diff-id-of-another", OciConfig(Put(layer, "sha256:" + std::string(64, 'a'))),
          {EBADMSG, "layer sha256:"});
  out.Add("oci-layer-of-other-bytes",
          With(OciIndex(nullptr), File("blobs/sha256/" + Hex(Layer()), Layer() + "more")),
          {EBADMSG, "layer " + layer});
  out.Add("oci-config-of-other-bytes",
          With(OciIndex(nullptr), File("blobs/sha256/" + Hex(image.config), image.config + " ")),
          {EBADMSG, "expected"});
  out.WhenPulled({EBADMSG, "longer than"});
  out.Add("oci-manifest-of-other-bytes",
          With(OciIndex(nullptr), File("blobs/sha256/" + Hex(image.manifest), "{}")),
          {EBADMSG, manifest});
  const std::string size = R"("size":)" + std::to_string(Layer().size());
  out.Add("oci-layer-larger-than-told", OciManifest(Put(size, R"("size":1000)")),
          {EBADMSG, "layer " + layer});
  out.Add("oci-layer-smaller-than-told", OciManifest(Put(size, R"("size":100000)")),
          {EBADMSG, "layer " + layer});
  out.WhenPulled({EBADMSG, "the content ended after"});
  out.Add("oci-layer-of-negative-size", OciManifest(Put(size, R"("size":-1)")),
          {EINVAL, "out of range"});
  out.Add("oci-layer-of-2-TiB", OciManifest(Put(size, R"("size":2199023255552)")),
          {EINVAL, "out of range"});
  out.Add("oci-layer-of-no-size", OciManifest(Put("," + size, "")), {EINVAL, "no size"});
  out.Add("oci-layer-of-half-a-size", OciManifest(Put(size, R"("size":2.5)")),
          {EINVAL, "field 'size'"});
  // The last of one name counts.
  Members twice = OciIndex(nullptr);
  twice.push_back(File("blobs/sha256/" + Hex(Layer()), "other"));
  out.Add("oci-blob-twice", twice, {EBADMSG, "layer " + layer}, {});
}

// CVE-2021-41190 and other documents that are not what they seem.
void AddDocuments(Collector& out) {
  out.Add("oci-manifest-and-index", OciManifest(Put(R"("layers":)", R"("manifests":[],"layers":)")),
          {EINVAL, "a manifest and an index at once"});
  out.Add("oci-manifest-says-index",
          OciManifest(Put("application/vnd.oci.image.manifest.v1+json",
                          "application/vnd.oci.image.index.v1+json")),
          {EINVAL, "was sent as"});
  out.Add("oci-manifest-type-control",
          OciManifest(Put("application/vnd.oci.image.manifest.v1+json", R"(\u001b[31m)")),
          {EINVAL, "\\x1b[31m"});
  out.Add("oci-schema-1", OciManifest(Put(R"("schemaVersion":2)", R"("schemaVersion":1)")),
          {EINVAL, "schema version 1"});
  out.Add("oci-key-twice", OciManifest(Put(R"("layers":)", R"("layers":[],"layers":)")),
          {EINVAL, "'layers' twice"});
  out.Add("oci-config-key-twice", OciConfig(Put(R"("Cmd":)", R"("Cmd":["/other"],"Cmd":)")),
          {EINVAL, "'Cmd' twice"});
  out.Add("docker-key-twice", Docker(Put(R"("Layers":)", R"("Layers":[],"Layers":)")),
          {EINVAL, "'Layers' twice"});
  out.Add("oci-index-without-images", OciIndex(Become(R"({"schemaVersion":2,"manifests":[]})")),
          {EINVAL, "has no images"});
  out.WhenPulled({ENOENT, "none at all"});
  out.Add("docker-without-images", Docker(Become("[]")), {EINVAL, "has no images"});
  out.Add("docker-fewer-layers", Docker(Put(R"(["layer.tar"])", "[]")),
          {EINVAL, "disagree about the number of layers"});
  out.Add("docker-no-json", Docker(Become("\x7f\x45LF")), {EINVAL, "manifest.json is not JSON"});
  out.Add("docker-config-no-json", DockerConfig(Become("[1,")), {EINVAL, "image config"});
  out.Add("docker-name-control", Docker(Put("hostile:1", R"(host\u001b[31m:1)")),
          {EINVAL, "\\x1b[31m"});
  out.Add("docker-name-dot-dot", Docker(Put("hostile:1", "../../canary:1")),
          {EINVAL, "'../../canary:1'"});
  const Refusal name{EINVAL, "\\x1b[31m\\x07"};
  out.Add("oci-name-control", OciIndex(Put("example.com/hostile:1", R"(x/\u001b[31m\u0007:1)")),
          name, name);
  out.Add("oci-layout-2",
          With(OciIndex(nullptr), File("oci-layout", R"({"imageLayoutVersion":"2.0.0"})")),
          {ENOTSUP, "version '2.0.0'"}, {ENOTSUP, "version '2.0.0'"});
  // A layer that is to be fetched from elsewhere and is not here: nobody is asked for it. It is no
  // other case's, for one that is in the store is not read.
  const std::string elsewhere = TarBuilder().AddFile("f", "elsewhere").Finish();
  ImageSpec foreign = ImageSpec::Of(elsewhere);
  foreign.layer_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
  const std::string size = R"("size":)" + std::to_string(elsewhere.size());
  foreign.manifest = Put(size, R"("urls":["http://127.0.0.1:1/layer"],)" + size);
  out.Add("oci-foreign-layer", Without(OciLayout(foreign), "blobs/sha256/" + Hex(elsewhere)),
          {ENOENT, "layer " + Digest::Of(elsewhere).ToString()});
}

Members Legacy(const std::string& repositories, const std::string& parent_of_a,
               const std::string& parent_of_b) {
  const auto json = [](const std::string& id, const std::string& parent) {
    return R"({"id":")" + id + R"(","parent":")" + parent + R"(","os":"linux"})";
  };
  return {File("repositories", repositories), File("a/json", json("a", parent_of_a)),
          File("a/layer.tar", Layer()), File("b/json", json("b", parent_of_b)),
          File("b/layer.tar", Layer())};
}

void AddLegacy(Collector& out) {
  out.Add("legacy-parents-in-a-circle", Legacy(R"({"x":{"1":"a"}})", "b", "a"),
          {EINVAL, "each other's parents"});
  out.Add("legacy-own-parent", Legacy(R"({"x":{"1":"a"}})", "a", ""),
          {EINVAL, "each other's parents"});
  out.Add("legacy-parent-out", Legacy(R"({"x":{"1":"a"}})", "../canary", ""),
          {ENOENT, "../canary/json"}, {EXDEV, "../canary/json leads out"});
  out.Add("legacy-layer-out", Legacy(R"({"x":{"1":"../../canary"}})", "", ""),
          {ENOENT, "../../canary/json"}, {EXDEV, "leads out"});
  out.Add("legacy-name-control", Legacy(R"({"x":{"\u001b[31m":"a"}})", "", ""),
          {EINVAL, "\\x1b[31m"});
}

// More of everything than anybody needs.
void AddBombs(Collector& out) {
  const std::string diff_id = '"' + Digest::Of(Layer()).ToString() + '"';
  out.Add("docker-config-of-9-MiB",
          DockerConfig([](std::string& text) { text.append(std::size_t{9} << 20U, ' '); }),
          {EFBIG, "config.json"});
  out.Add("docker-manifest-of-5-MiB",
          Docker([](std::string& text) { text.append(std::size_t{5} << 20U, ' '); }),
          {EFBIG, "manifest.json"});
  out.Add("oci-config-deep",
          OciConfig(Put(R"("Cmd":)", R"("x":)" + Repeated("[", 100'000) + R"(,"Cmd":)")),
          {EINVAL, "nested too deeply"});
  out.Add("oci-config-of-many-values",
          OciConfig(Put(R"("Cmd":)", R"("x":[[])" + Repeated(",[]", 2'000'000) + R"(],"Cmd":)")),
          {EINVAL, "too many values"});
  out.Add("oci-config-of-many-keys", OciConfig([](std::string& text) {
            std::string keys = "{";
            for (int i = 0; i < 120'000; ++i) keys += '"' + std::to_string(i) + R"(":0,)";
            Replace(text, R"({"Cmd":)", keys + R"("Cmd":)");
          }),
          {EINVAL, "too many keys"});
  out.Add("oci-config-of-4097-layers",
          OciConfig(Put(diff_id, diff_id + Repeated("," + diff_id, 4096))),
          {EINVAL, "more than 4096 layers"});
  out.Add("oci-manifest-of-10001-layers", OciManifest([](std::string& text) {
            const std::size_t from = text.find('{', text.find(R"("layers":[)"));
            const std::string layer = text.substr(from, text.find('}', from) + 1 - from);
            text.insert(from, Repeated(layer + ",", 10'000));
          }),
          {EINVAL, "more than 10000 descriptors"});
  out.Add(
      "docker-4097-layers",
      Docker(Put(R"(["layer.tar"])", R"(["layer.tar")" + Repeated(R"(,"layer.tar")", 4096) + "]")),
      {EINVAL, "too many layers"});
  out.Add("docker-1001-names",
          Docker(Put(R"(["hostile:1"])", R"(["x:1")" + Repeated(R"(,"x:1")", 1000) + "]")),
          {EINVAL, "too many names"});
  Members many = Docker(nullptr);
  for (int i = 0; i < 100; ++i) many.push_back(File("member-" + std::to_string(i), ""));
  out.Add("members", many, {E2BIG, "limit is entries=50"}, {}, {.entries = 50});
  out.Add("member-names", many, {E2BIG, "limit is kept-bytes=5000"}, {}, {.kept_bytes = 5000});
  out.Add("member-bytes", Docker(nullptr), {E2BIG, "limit is total-bytes=100"}, {},
          {.total_bytes = 100});
  // Of its own, for a layer that is in the store is not read.
  const std::string linked = TarBuilder().AddFile("f", "linked").Finish();
  Members links = Without(DockerArchive(ImageSpec::Of(linked)), "layer.tar");
  links.push_back(Link("layer.tar", "l0"));
  for (int i = 0; i < 20; ++i) {
    links.push_back(Link("l" + std::to_string(i), "l" + std::to_string(i + 1)));
  }
  links.push_back(File("l20", linked));
  out.Add("docker-chain-of-20-links", links, {ELOOP, "layer.tar"}, {});
  // An index cannot hold its own digest, but it can go on for long.
  Members nested = OciIndex(nullptr);
  std::string index = nested[1].content;
  for (int i = 0; i < 6; ++i) {
    nested.push_back(File("blobs/sha256/" + Hex(index), index));
    index = R"({"schemaVersion":2,"manifests":[{"mediaType":)"
            R"("application/vnd.oci.image.index.v1+json","digest":"sha256:)" +
            Hex(index) + R"(","size":)" + std::to_string(index.size()) + "}]}";
  }
  out.Add("oci-indexes-nested", With(nested, File("index.json", index)),
          {EINVAL, "nested too deeply"});
  out.WhenPulled({ENOENT, "none at all"});
}

}  // namespace

std::vector<HostileArchive> HostileArchives() {
  Collector out;
  AddNames(out);
  AddDigests(out);
  AddDocuments(out);
  AddLegacy(out);
  AddBombs(out);
  return out.Take();
}

std::vector<GoodArchive> GoodArchives() {
  std::vector<GoodArchive> good;
  good.push_back({"docker", Docker(nullptr)});
  good.push_back({"oci", OciIndex(nullptr)});
  // docker save writes a layer once and links to it.
  Members linked = Docker(nullptr);
  linked[2].name = "other/layer.tar";
  linked.push_back(Link("layer.tar", "other/layer.tar"));
  good.push_back({"docker-layer-linked", linked});
  Members up = Docker(Put("layer.tar", "one/layer.tar"));
  up[2].name = "two/layer.tar";
  up.push_back(Link("one/layer.tar", "../two/layer.tar"));
  good.push_back({"docker-layer-linked-up", up});
  Members blob_link = OciIndex(nullptr);
  const std::string blob = blob_link.back().name;
  blob_link.back().name = "elsewhere/layer";
  blob_link.push_back(Link(blob, "../../elsewhere/layer"));
  good.push_back({"oci-blob-linked", blob_link});
  ImageSpec foreign = Spec();
  foreign.layer_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
  good.push_back({"oci-foreign-layer-here", OciLayout(foreign)});
  good.push_back({"legacy", Legacy(R"({"x":{"1":"a","2":"a"}})", "b", "")});
  good.push_back({"docker-without-name", Docker(Put(R"(["hostile:1"])", "null"))});
  good.push_back({"docker-unknown-keys", Docker(Put(R"("Layers":)", R"("Parent":"","Layers":)"))});
  good.push_back(
      {"oci-unknown-annotation",
       OciIndex(Put("example.com/hostile:1", R"(example.com/hostile:1","x":"\u001b[31m)"))});
  return good;
}

}  // namespace strata::hostile
