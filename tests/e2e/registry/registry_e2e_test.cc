// Images between the store and a real registry, and between that and skopeo.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "base/file_ops.h"
#include "layerstore/oci/media_types.h"
#include "manager/image/image_service.h"
#include "tests/support/docker_registry.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/sample_image.h"
#include "tests/support/temp_root.h"
#include "tests/support/tree_snapshot.h"

namespace strata::manager {
namespace {

using layerstore::Reference;
using layerstore::Store;
using support::DockerRegistry;
using support::Must;
using support::SampleImage;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

// Later than what the sample image's files say.
const time_t kTestBegin = ::time(nullptr);

// A store, the service on it and what it reported.
class Host {
 public:
  explicit Host(std::string root, ImageServiceOptions options = {})
      : store_(Must(Store::Open({.root = std::move(root)}))), service_(*store_, options) {}

  Store& store() { return *store_; }
  ImageService& service() { return service_; }

  Result<PullOutcome> Pull(const std::string& name, const PullOptions& options = {}) {
    lines_.clear();
    return service_.Pull(Must(Reference::Parse(name)), options, Sink(), nullptr);
  }
  Result<PushOutcome> Push(const std::string& name, const PushOptions& options = {}) {
    lines_.clear();
    return service_.Push(Must(Reference::Parse(name)), options, Sink(), nullptr);
  }
  // "id: status" of the last operation, without repetitions.
  const std::vector<std::string>& lines() const { return lines_; }
  // Content of all layers of an image, top first.
  std::vector<support::TreeSnapshot> Trees(const layerstore::Image& image) {
    std::vector<support::TreeSnapshot> trees;
    for (const std::string& dir : Must(store_->LowerDirs(image))) {
      trees.push_back(Must(support::TreeSnapshot::Take(dir)));
    }
    return trees;
  }

 private:
  ProgressSink Sink() {
    return [this](const ProgressEvent& event) {
      std::string line = event.id.empty() ? event.status : event.id + ": " + event.status;
      if (event.pushed) line = "aux " + event.pushed->tag + " " + event.pushed->digest.ToString();
      if (lines_.empty() || lines_.back() != line) lines_.push_back(std::move(line));
    };
  }

  std::unique_ptr<Store> store_;
  ImageService service_;
  std::vector<std::string> lines_;
};

void ExpectSame(const std::vector<support::TreeSnapshot>& left,
                const std::vector<support::TreeSnapshot>& right) {
  ASSERT_EQ(left.size(), right.size());
  support::CompareRules rules;
  rules.clock_since = timespec{kTestBegin, 0};  // whiteouts have the time they were made at
  for (std::size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(support::Diff(left[i], right[i], rules), "") << "layer " << i << " from the top";
  }
}

class RegistryE2e : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!DockerRegistry::Installed()) GTEST_SKIP() << "docker-registry is not installed";
    sample_ = support::MakeSampleImage(Must(root_.MakeDir("sample")), "one");
    registry_ = DockerRegistry::Start(Must(root_.MakeDir("registry")));
    host_ = std::make_unique<Host>(root_.At("store"));
  }

  std::string Name(const std::string& path) const { return registry_->address() + "/" + path; }

  support::TempRoot root_ = Must(support::TempRoot::Create());
  SampleImage sample_;
  std::unique_ptr<DockerRegistry> registry_;
  std::unique_ptr<Host> host_;
};

TEST_F(RegistryE2e, WhatIsPushedComesBackTheSame) {
  const std::string name = Name("lib/sample:1");
  const auto before = support::PutImage(host_->store(), sample_, Must(Reference::Parse(name)));
  const auto trees = host_->Trees(before);
  const auto pushed = host_->Push(name);
  ASSERT_TRUE(pushed) << pushed.error().ToString();
  EXPECT_EQ(pushed->digest, sample_.digest());
  EXPECT_EQ(pushed->size, sample_.manifest_json.size());
  EXPECT_THAT(host_->lines(), IsSupersetOf(std::vector<std::string>{
                                  "The push refers to repository [" + Name("lib/sample") + "]",
                                  sample_.layers[0].diff_id.Short() + ": Preparing",
                                  sample_.layers[0].diff_id.Short() + ": Pushing",
                                  sample_.layers[0].diff_id.Short() + ": Pushed",
                                  "1: digest: " + sample_.digest().ToString() +
                                      " size: " + std::to_string(sample_.manifest_json.size()),
                                  "aux 1 " + sample_.digest().ToString()}));

  const auto none_runs = [](std::string_view) { return false; };
  const auto removed = host_->service().Remove(sample_.id().ToString(), true, none_runs);
  ASSERT_TRUE(removed) << removed.error().ToString();
  EXPECT_EQ(removed->size(), 2 + 1 + sample_.layers.size());  // two names, the image, its layers
  EXPECT_FALSE(host_->store().layers().Find(sample_.layers[0].diff_id));
  EXPECT_FALSE(Must(host_->store().blobs().Has(sample_.layers[0].digest)));

  const auto pulled = host_->Pull(name);
  ASSERT_TRUE(pulled) << pulled.error().ToString();
  EXPECT_TRUE(pulled->newer);
  EXPECT_EQ(pulled->image.id, sample_.id());
  EXPECT_EQ(pulled->digest, sample_.digest());
  ExpectSame(host_->Trees(pulled->image), trees);
  const std::string layer = sample_.layers[0].digest.Short();
  EXPECT_THAT(
      host_->lines(),
      IsSupersetOf(std::vector<std::string>{
          "1: Pulling from lib/sample", layer + ": Pulling fs layer", layer + ": Downloading",
          layer + ": Verifying Checksum", layer + ": Download complete", layer + ": Extracting",
          layer + ": Pull complete", "Digest: " + sample_.digest().ToString(),
          "Status: Downloaded newer image for " + name}));
  const auto detail = Must(host_->service().Inspect(name));
  EXPECT_EQ(detail.manifest_json, sample_.manifest_json);
  EXPECT_EQ(detail.config_json, sample_.config_json);
  EXPECT_THAT(
      detail.image.repo_digests,
      Contains(Must(Reference::Parse(Name("lib/sample") + "@" + sample_.digest().ToString()))));

  const auto again = host_->Pull(name);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->newer);
  EXPECT_THAT(host_->lines(), Contains("Status: Image is up to date for " + name));
}

TEST_F(RegistryE2e, APullBringsBackWhatWasLost) {
  const std::string name = Name("lib/sample:1");
  const auto image = support::PutImage(host_->store(), sample_, Must(Reference::Parse(name)));
  const auto trees = host_->Trees(image);
  ASSERT_TRUE(host_->Push(name));
  const auto lost = Must(host_->store().layers().Find(sample_.layers[1].diff_id));
  Must(support::RemoveTree(lost.path));
  EXPECT_FALSE(host_->store().LowerDirs(image));

  const auto pulled = host_->Pull(name);
  ASSERT_TRUE(pulled) << pulled.error().ToString();
  EXPECT_EQ(pulled->image.id, image.id);
  EXPECT_THAT(host_->lines(), IsSupersetOf(std::vector<std::string>{
                                  sample_.layers[0].digest.Short() + ": Already exists",
                                  sample_.layers[1].digest.Short() + ": Pull complete"}));
  ExpectSame(host_->Trees(pulled->image), trees);
}

TEST_F(RegistryE2e, ASecondPushSendsNothingAndAnotherRepositoryMounts) {
  const auto image =
      support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("lib/sample:1"))));
  ASSERT_TRUE(host_->Push(Name("lib/sample:1")));
  ASSERT_TRUE(host_->Push(Name("lib/sample:1")));
  for (const auto& layer : sample_.layers) {
    EXPECT_THAT(host_->lines(), Contains(layer.diff_id.Short() + ": Layer already exists"));
  }
  ASSERT_TRUE(
      host_->service().Tag(image.id.ToString(), Must(Reference::Parse(Name("other/place:2")))));
  const auto mounted = host_->Push(Name("other/place:2"));
  ASSERT_TRUE(mounted) << mounted.error().ToString();
  for (const auto& layer : sample_.layers) {
    EXPECT_THAT(host_->lines(), Contains(layer.diff_id.Short() + ": Mounted from lib/sample"));
  }
}

TEST_F(RegistryE2e, PullsByDigestAndSharesLayers) {
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("s:1"))));
  ASSERT_TRUE(host_->Push(Name("s:1")));
  const SampleImage other = support::MakeSampleImage(Must(root_.MakeDir("sample2")), "other");
  ASSERT_EQ(other.layers[0].digest, sample_.layers[0].digest);
  support::PutImage(host_->store(), other, Must(Reference::Parse(Name("s:2"))));
  ASSERT_TRUE(host_->Push(Name("s:2")));

  Host fresh(root_.At("fresh"));
  const std::string pinned = Name("s") + "@" + sample_.digest().ToString();
  const auto pulled = fresh.Pull(pinned);
  ASSERT_TRUE(pulled) << pulled.error().ToString();
  EXPECT_EQ(pulled->image.id, sample_.id());
  EXPECT_TRUE(pulled->image.tags.empty());
  EXPECT_TRUE(fresh.service().Inspect(pinned));
  ASSERT_TRUE(fresh.Pull(Name("s:2")));
  EXPECT_THAT(fresh.lines(), Contains(sample_.layers[0].digest.Short() + ": Already exists"));
  EXPECT_THAT(fresh.lines(), Contains(other.layers[1].digest.Short() + ": Pull complete"));
}

TEST_F(RegistryE2e, TakesTheHostsImageOutOfAnIndex) {
  const auto client = Must(RegistryClient::Open(registry_->address(), {}, {}, nullptr));
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("multi:amd"))));
  ASSERT_TRUE(host_->Push(Name("multi:amd")));
  layerstore::Index index;
  index.media_type = layerstore::media_type::kOciIndex;
  layerstore::Descriptor entry;
  entry.media_type = sample_.manifest.media_type;
  entry.digest = sample_.digest();
  entry.size = sample_.manifest_json.size();
  entry.platform = layerstore::HostPlatform();
  index.manifests = {entry};
  const std::string bytes = index.ToJson();
  ASSERT_TRUE(client->PutManifest("multi", "latest", index.media_type, bytes));

  Host fresh(root_.At("fresh"));
  const auto pulled = fresh.Pull(Name("multi"));
  ASSERT_TRUE(pulled) << pulled.error().ToString();
  EXPECT_EQ(pulled->digest, Digest::Of(bytes));
  EXPECT_EQ(pulled->image.id, sample_.id());
  PullOptions options;
  options.platform = Must(layerstore::ParsePlatform("linux/s390x"));
  const auto missing = fresh.Pull(Name("multi"), options);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ENOENT);
  EXPECT_THAT(missing.error().ToString(), HasSubstr("linux/s390x"));
  const auto single = fresh.Pull(Name("multi:amd"), options);
  ASSERT_FALSE(single);
  EXPECT_EQ(single.error().code(), ENOENT);
}

TEST_F(RegistryE2e, WhatIsNotThere) {
  const auto tag = host_->Pull(Name("nothing:1"));
  ASSERT_FALSE(tag);
  EXPECT_EQ(tag.error().code(), ENOENT);
  EXPECT_THAT(tag.error().ToString(),
              HasSubstr("manifest for " + Name("nothing:1") + " not found"));
  EXPECT_THAT(tag.error().ToString(), HasSubstr("404 Not Found: MANIFEST_UNKNOWN"));
  EXPECT_TRUE(host_->lines().empty());
  const auto push = host_->Push(Name("nothing:1"));
  ASSERT_FALSE(push);
  EXPECT_EQ(push.error().code(), ENOENT);
}

TEST_F(RegistryE2e, ACorruptLayerLeavesNothingBehind) {
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("s:1"))));
  ASSERT_TRUE(host_->Push(Name("s:1")));
  {
    FileOps& ops = FileOps::System();
    const std::string path = registry_->BlobPath(sample_.layers[1].digest.Hex());
    const UniqueFd fd = Must(ops.Open(AT_FDCWD, path.c_str(), O_WRONLY));
    const auto middle = static_cast<off_t>(sample_.layers[1].blob.size() / 2);
    Must(WriteAllAt(ops, fd.get(), std::as_bytes(std::span("XXXXXXXX", 8)), middle));
  }
  Host fresh(root_.At("fresh"));
  const auto pulled = fresh.Pull(Name("s:1"));
  ASSERT_FALSE(pulled);
  EXPECT_EQ(pulled.error().code(), EBADMSG) << pulled.error().ToString();
  EXPECT_THAT(pulled.error().ToString(), HasSubstr(sample_.layers[1].digest.ToString()));
  EXPECT_TRUE(Must(fresh.service().List({})).empty());
  EXPECT_FALSE(fresh.store().layers().Find(sample_.layers[1].diff_id));
  EXPECT_FALSE(Must(fresh.store().blobs().Has(sample_.layers[1].digest)));
  Must(layerstore::Collect(fresh.store()));
  EXPECT_TRUE(Must(fresh.store().blobs().List()).empty());
}

// What was loaded or committed is packed on its way; the next push knows what became of it.
TEST_F(RegistryE2e, PlainLayersArePackedOnTheWay) {
  for (const bool docker : {false, true}) {
    const std::string repository = docker ? "plain-docker" : "plain";
    Host host(root_.At("store-" + repository));
    const SampleImage plain = support::WithPlainLayers(sample_, docker);
    const layerstore::Image image =
        support::PutImage(host.store(), plain, Must(Reference::Parse(Name(repository + ":1"))));
    EXPECT_TRUE(Must(host.store().blobs().List()).empty());
    const auto pushed = host.Push(Name(repository + ":1"));
    ASSERT_TRUE(pushed) << pushed.error().ToString();
    EXPECT_TRUE(Must(host.store().blobs().List()).empty());
    const std::string layer = plain.layers[0].diff_id.Short();
    EXPECT_THAT(host.lines(),
                IsSupersetOf(std::vector<std::string>{layer + ": Packing", layer + ": Pushed"}));

    Host fresh(root_.At("fresh-" + repository));
    const auto pulled = fresh.Pull(Name(repository + ":1"));
    ASSERT_TRUE(pulled) << pulled.error().ToString();
    EXPECT_EQ(pulled->image.id, image.id);
    ExpectSame(fresh.Trees(pulled->image), host.Trees(image));
    const auto detail = Must(fresh.service().Inspect(Name(repository + ":1")));
    const auto manifest =
        Must(layerstore::ParseManifest(detail.manifest_json, detail.image.manifest_media_type));
    for (const auto& descriptor : manifest.layers) {
      EXPECT_EQ(descriptor.media_type, docker ? layerstore::media_type::kDockerLayerGzip
                                              : layerstore::media_type::kOciLayerGzip);
    }

    const auto again = host.Push(Name(repository + ":1"));
    ASSERT_TRUE(again) << again.error().ToString();
    EXPECT_EQ(again->digest, pushed->digest);
    EXPECT_THAT(host.lines(), Contains(layer + ": Layer already exists"));
    EXPECT_THAT(host.lines(), Not(Contains(layer + ": Packing")));
    // In another repository it is packed for its digest, and then not sent.
    ASSERT_TRUE(host.service().Tag(image.id.ToString(),
                                   Must(Reference::Parse(Name("else/" + repository + ":1")))));
    ASSERT_TRUE(host.Push(Name("else/" + repository + ":1")));
    EXPECT_THAT(host.lines(), Contains(layer + ": Mounted from " + repository));
  }
}

// Without the packed layers, they are made of the unpacked ones.
TEST_F(RegistryE2e, PushesLayersWhoseBlobsAreNotKept) {
  const layerstore::Image image =
      support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("s:1"))));
  for (const auto& layer : sample_.layers) Must(host_->store().blobs().Remove(layer.digest));
  const auto pushed = host_->Push(Name("s:1"));
  ASSERT_TRUE(pushed) << pushed.error().ToString();
  Host fresh(root_.At("fresh"));
  const auto pulled = fresh.Pull(Name("s:1"));
  ASSERT_TRUE(pulled) << pulled.error().ToString();
  EXPECT_EQ(pulled->image.id, image.id);
  EXPECT_EQ(pulled->image.diff_ids, image.diff_ids);
}

TEST_F(RegistryE2e, TwoPullsOfOneImageAtATime) {
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("s:1"))));
  ASSERT_TRUE(host_->Push(Name("s:1")));
  Host fresh(root_.At("fresh"));
  const Reference reference = Must(Reference::Parse(Name("s:1")));
  std::vector<std::string> errors(3);
  {
    std::vector<std::jthread> threads;
    for (std::string& error : errors) {
      threads.emplace_back([&] {
        const auto pulled = fresh.service().Pull(reference, {}, {}, nullptr);
        if (!pulled) error = pulled.error().ToString();
      });
    }
  }
  for (const std::string& error : errors) EXPECT_EQ(error, "");
  EXPECT_EQ(Must(fresh.service().List({})).size(), 1U);
}

TEST_F(RegistryE2e, PasswordsAreAskedFor) {
  const auto locked = DockerRegistry::Start(
      Must(root_.MakeDir("locked")),
      {.user = "ann", .password = "secret", .certificate_file = {}, .key_file = {}});
  const std::string name = locked->address() + "/s:1";
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(name)));
  const RegistryCredentials right{.username = "ann", .password = "secret"};
  const RegistryCredentials wrong{.username = "ann", .password = "guess"};
  for (const RegistryCredentials& credentials : {RegistryCredentials{}, wrong}) {
    const auto pushed = host_->Push(name, {.credentials = credentials});
    ASSERT_FALSE(pushed);
    EXPECT_EQ(pushed.error().code(), EACCES);
    EXPECT_THAT(pushed.error().ToString(), HasSubstr("401 Unauthorized"));
  }
  const auto pushed = host_->Push(name, {.credentials = right});
  ASSERT_TRUE(pushed) << pushed.error().ToString();
  Host fresh(root_.At("fresh"));
  PullOptions options;
  const auto denied = fresh.Pull(name, options);
  ASSERT_FALSE(denied);
  EXPECT_THAT(denied.error().ToString(), HasSubstr("pull access denied for"));
  options.credentials = right;
  EXPECT_TRUE(fresh.Pull(name, options));
}

TEST_F(RegistryE2e, CertificatesAreChecked) {
  const std::string key = root_.At("key.pem");
  const std::string certificate = root_.At("cert.pem");
  const auto made = Must(support::RunProcess(
      {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
       "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test", "-addext",
       "subjectAltName=IP:127.0.0.1"}));
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const auto tls = DockerRegistry::Start(
      Must(root_.MakeDir("tls")),
      {.user = {}, .password = {}, .certificate_file = certificate, .key_file = key});
  const std::string name = tls->address() + "/s:1";
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(name)));
  const auto untrusted = host_->Push(name);
  ASSERT_FALSE(untrusted);
  EXPECT_EQ(untrusted.error().code(), EPROTO) << untrusted.error().ToString();
  EXPECT_THAT(untrusted.error().ToString(), HasSubstr("certificate"));
  PushOptions insecure;
  insecure.insecure = true;
  const auto pushed = host_->Push(name, insecure);
  EXPECT_TRUE(pushed) << pushed.error().ToString();
  ImageServiceOptions trusting;
  trusting.registry.ca_file = certificate;
  Host fresh(root_.At("fresh"), trusting);
  const auto pulled = fresh.Pull(name);
  EXPECT_TRUE(pulled) << pulled.error().ToString();
}

class SkopeoE2e : public RegistryE2e {
 protected:
  void SetUp() override {
    if (::access("/usr/bin/skopeo", X_OK) != 0) GTEST_SKIP() << "skopeo is not installed";
    RegistryE2e::SetUp();
  }
  support::ProcessResult Skopeo(std::vector<std::string> args) {
    args.insert(args.begin(), "skopeo");
    return Must(support::RunProcess(args, std::chrono::seconds(60)));
  }
};

TEST_F(SkopeoE2e, ReadsWhatWePush) {
  support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("s:1"))));
  ASSERT_TRUE(host_->Push(Name("s:1")));
  const auto raw = Skopeo({"inspect", "--tls-verify=false", "--raw", "docker://" + Name("s:1")});
  EXPECT_EQ(raw.exit_code, 0) << raw.err;
  EXPECT_EQ(raw.out, sample_.manifest_json);
  const std::string dir = root_.At("copied");
  const auto copied = Skopeo({"copy", "--insecure-policy", "--src-tls-verify=false",
                              "docker://" + Name("s:1"), "dir:" + dir});
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  for (const auto& layer : sample_.layers) {
    EXPECT_EQ(::access((dir + "/" + layer.digest.Hex()).c_str(), R_OK), 0);
  }
}

TEST_F(SkopeoE2e, WePullWhatItCopies) {
  const auto image =
      support::PutImage(host_->store(), sample_, Must(Reference::Parse(Name("s:1"))));
  const auto trees = host_->Trees(image);
  ASSERT_TRUE(host_->Push(Name("s:1")));
  // Docker's manifest format, and another compression.
  for (const std::vector<std::string>& how :
       {std::vector<std::string>{"--format", "v2s2"},
        std::vector<std::string>{"--format", "oci", "--dest-compress", "--dest-compress-format",
                                 "zstd"}}) {
    std::vector<std::string> args = {"copy", "--insecure-policy", "--src-tls-verify=false",
                                     "--dest-tls-verify=false"};
    args.insert(args.end(), how.begin(), how.end());
    args.insert(args.end(), {"docker://" + Name("s:1"), "docker://" + Name("copy:" + how[1])});
    const auto copied = Skopeo(args);
    ASSERT_EQ(copied.exit_code, 0) << copied.err;
    Host fresh(root_.At("fresh-" + how[1]));
    const auto pulled = fresh.Pull(Name("copy:" + how[1]));
    ASSERT_TRUE(pulled) << pulled.error().ToString();
    ExpectSame(fresh.Trees(pulled->image), trees);
    // And what came in another form goes out in that form.
    const auto pushed = fresh.Push(Name("copy:" + how[1]));
    ASSERT_TRUE(pushed) << pushed.error().ToString();
    EXPECT_EQ(pushed->digest, pulled->digest);
  }
}

}  // namespace
}  // namespace strata::manager
