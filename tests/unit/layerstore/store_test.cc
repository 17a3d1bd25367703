// Blobs, layers, leases and collection: what is visible when, and to whom.
#include "layerstore/store/store.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/fault_file_ops.h"
#include "base/remove_tree.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/fsck/repair.h"
#include "layerstore/gc/collector.h"
#include "layerstore/recipe/layer_tar.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::TarBuilder;

std::string SmallTar(const std::string& content = "x") {
  return TarBuilder().AddDirectory("d").AddFile("d/f", content).Finish();
}

LayerIngest Known(const std::string& tar, std::optional<Digest> blob = std::nullopt) {
  LayerIngest ingest;
  ingest.blob = blob;
  ingest.diff_id = Digest::Of(tar);
  return ingest;
}

class LayerTest : public StoreTest {
 protected:
  Digest PutBlob(const std::string& data, Lease& lease) {
    auto writer = Must(store_->blobs().Begin(lease));
    Must(writer->Write(data));
    return Must(writer->Commit(std::nullopt, std::nullopt)).digest;
  }

  std::string making_;
};

TEST_F(LayerTest, RootIsPrivate) {
  EXPECT_EQ(Lstat(root_).st_mode & 07777U, 0700U);
  support::MustCall(::chmod(root_.c_str(), 0755), "chmod");
  Reopen();
  EXPECT_EQ(Lstat(root_).st_mode & 07777U, 0700U);
}

TEST_F(LayerTest, RootBelowASymbolicLink) {
  store_.reset();
  Must(FileOps::System().SymLink(temp_.path().c_str(), AT_FDCWD, temp_.At("link").c_str()));
  root_ = temp_.At("link/store");
  Reopen();
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  EXPECT_EQ(ReadFile(layer.path + "/d/f"), "x");
  store_ = Must(Store::Open({.root = root_, .read_only = true}));
  EXPECT_TRUE(Succeeds(store_->layers().Find(layer.diff_id)));
}

TEST_F(LayerTest, AnotherStartMayTakeTheNewStagingAway) {
  store_.reset();
  // What a clean-up does between the making of the directory and its locking, twice.
  int taken = 0;
  FaultFileOps ops(FileOps::System(), [&](const FaultFileOps::Call& call) {
    if (call.name == "MakeDir") making_ = call.path;
    if (call.name == "Open" && taken < 2 && making_ == call.path &&
        ::rmdir((root_ + "/tmp/" + making_).c_str()) == 0) {
      ++taken;
    }
    return 0;
  });
  Reopen(&ops);
  EXPECT_EQ(taken, 2);
  EXPECT_TRUE(Succeeds(PutLayer(SmallTar())));
  ExpectNoLeftovers();
  store_.reset();
}

TEST_F(LayerTest, WhetherFilesCanBeGuardedIsAskedOnce) {
  int asked = 0;
  FaultFileOps ops(FileOps::System(), [&](const FaultFileOps::Call& call) {
    if (call.name == "Unlink" && std::string_view(call.path) == "probe") ++asked;
    return 0;
  });
  const std::string large(kGuardedBytes, 'x');
  Reopen(&ops);
  const LayerInfo layer = Must(PutLayer(TarBuilder().AddFile("a", large).Finish()));
  Must(PutLayer(TarBuilder().AddFile("b", large + "b").Finish()));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(Names(root_ + "/layers/sha256/" + layer.diff_id.Hex()),
            (std::set<std::string>{"fs", "index", "objects", "recipe"}));
  store_ = Must(Store::Open({.root = root_, .verity = Verity::kOff, .ops = &ops}));
  Must(PutLayer(TarBuilder().AddFile("c", large + "c").Finish()));
  EXPECT_EQ(asked, 1);
  store_.reset();
}

TEST_F(LayerTest, Blobs) {
  Lease lease = Must(store_->NewLease());
  const Digest digest = PutBlob("hello", lease);
  EXPECT_EQ(digest, Digest::Of("hello"));
  EXPECT_TRUE(Must(store_->blobs().Has(digest)));
  EXPECT_EQ(Must(store_->blobs().Size(digest)), 5U);
  const UniqueFd fd = Must(store_->blobs().OpenBlob(digest));
  EXPECT_EQ(Must(ReadAll(store_->ops(), fd.get(), 100)), "hello");
  EXPECT_EQ(Must(store_->blobs().List()).size(), 1U);
  {
    auto writer = Must(store_->blobs().Begin(lease));
    Must(writer->Write("other"));
    EXPECT_TRUE(FailsWith(writer->Commit(digest, std::nullopt), EBADMSG, "digest"));
  }
  {
    auto writer = Must(store_->blobs().Begin(lease));
    Must(writer->Write("hello"));
    EXPECT_TRUE(FailsWith(writer->Commit(digest, 6), EBADMSG, "size"));
  }
  {
    auto writer = Must(store_->blobs().Begin(lease));
    Must(writer->Write("never committed"));
  }
  EXPECT_EQ(Must(store_->blobs().List()).size(), 1U);
  ExpectNoLeftovers();
  Must(store_->blobs().Remove(digest));
  EXPECT_FALSE(Must(store_->blobs().Has(digest)));
  EXPECT_TRUE(FailsWith(store_->blobs().OpenBlob(digest), ENOENT));
  EXPECT_TRUE(FailsWith(store_->blobs().Remove(digest), ENOENT));
}

TEST_F(LayerTest, LayerIsThereAfterReopen) {
  LayerIngest ingest;
  ingest.blob = Digest::Of(Gzip(SmallTar()));
  ingest.diff_id = Digest::Of(SmallTar());
  ingest.blob_size = Gzip(SmallTar()).size();
  const LayerInfo layer = Must(PutLayer(Gzip(SmallTar()), ingest));
  EXPECT_EQ(layer.size, 1U);
  EXPECT_EQ(layer.entries, 2U);
  ExpectNoLeftovers();
  Reopen();
  const LayerInfo found = Must(store_->layers().Find(*ingest.diff_id));
  EXPECT_EQ(found.path, root_ + "/layers/sha256/" + ingest.diff_id->Hex() + "/fs");
  EXPECT_EQ(found.entries, 2U);
  EXPECT_EQ(ReadFile(found.path + "/d/f"), "x");
  EXPECT_EQ(Must(store_->layers().FindBlob(*ingest.blob)).diff_id, *ingest.diff_id);
  EXPECT_TRUE(FailsWith(PutLayer("", ingest), EALREADY));
}

TEST_F(LayerTest, WrongDigestsPublishNothing) {
  const std::string bytes = Gzip(SmallTar());
  LayerIngest good;
  good.blob = Digest::Of(bytes);
  good.diff_id = Digest::Of(SmallTar());
  good.blob_size = bytes.size();
  LayerIngest wrong_blob = good;
  wrong_blob.blob = Digest::Of("other");
  EXPECT_TRUE(FailsWith(PutLayer(bytes, wrong_blob), EBADMSG, "digest"));
  LayerIngest wrong_layer = good;
  wrong_layer.diff_id = Digest::Of("other");
  EXPECT_TRUE(FailsWith(PutLayer(bytes, wrong_layer), EBADMSG, "diffID"));
  LayerIngest wrong_size = good;
  wrong_size.blob_size = bytes.size() - 1;
  EXPECT_TRUE(FailsWith(PutLayer(bytes, wrong_size), EBADMSG, "size"));
  EXPECT_TRUE(FailsWith(PutLayer(bytes.substr(0, bytes.size() - 2), good), EBADMSG, "size"));
  EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
  EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
  ExpectNoLeftovers();
  EXPECT_TRUE(Succeeds(PutLayer(bytes, good)));
}

TEST_F(LayerTest, UnpacksAKeptBlobAgain) {
  Lease lease = Must(store_->NewLease());
  const Digest blob = PutBlob(Gzip(SmallTar()), lease);
  const Digest diff_id = Digest::Of(SmallTar());
  const LayerInfo layer = Must(store_->layers().Unpack(blob, diff_id, "type", lease));
  EXPECT_EQ(ReadFile(layer.path + "/d/f"), "x");
  EXPECT_EQ(Must(store_->layers().FindBlob(blob)).media_type, "type");
  // Somebody removed the directory by hand: it comes back.
  const UniqueFd layers(
      ::open((root_ + "/layers/sha256").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Must(RemoveTree(FileOps::System(), layers.get(), diff_id.Hex().c_str()));
  EXPECT_TRUE(FailsWith(store_->layers().Find(diff_id), ENOENT));
  EXPECT_EQ(Must(store_->layers().Unpack(blob, diff_id, "type", lease)).path, layer.path);
  EXPECT_EQ(ReadFile(layer.path + "/d/f"), "x");
}

TEST_F(LayerTest, OneFlightPerLayer) {
  const std::string bytes = Gzip(SmallTar(std::string(200000, 'y')));
  LayerIngest ingest;
  ingest.blob = Digest::Of(bytes);
  ingest.diff_id = Digest::Of(SmallTar(std::string(200000, 'y')));
  std::atomic<int> unpacked = 0;
  std::atomic<int> waited = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      const auto result = PutLayer(bytes, ingest);
      if (result) ++unpacked;
      if (!result && result.error().code() == EALREADY) ++waited;
    });
  }
  threads.clear();
  EXPECT_EQ(unpacked, 1);
  EXPECT_EQ(waited, 5);
  ExpectNoLeftovers();
}

TEST_F(LayerTest, UnknownLayersMayRace) {
  std::atomic<int> done = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      if (PutLayer(SmallTar())) ++done;
    });
  }
  threads.clear();
  EXPECT_EQ(done, 4);
  EXPECT_EQ(Names(root_ + "/layers/sha256").size(), 1U);
  ExpectNoLeftovers();
}

TEST_F(LayerTest, PlainStreamsKeepNoBlob) {
  const std::string tar = SmallTar();
  const Digest digest = Digest::Of(tar);
  {
    Lease lease = Must(store_->NewLease());
    const auto sink = Must(store_->layers().Begin({}, lease));
    Must(sink->Write(tar));
    EXPECT_EQ(Must(sink->Commit()).diff_id, digest);
    EXPECT_EQ(sink->blob().blob, digest);
    EXPECT_EQ(sink->blob().size, tar.size());
    EXPECT_EQ(sink->blob().media_type, "application/vnd.oci.image.layer.v1.tar");
  }
  EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
  EXPECT_EQ(Must(store_->layers().FindBlob(digest)).kept, false);
  EXPECT_EQ(Must(store_->layers().TarSize(digest)), tar.size());
  EXPECT_TRUE(FailsWith(store_->layers().TarSize(Digest::Of("none")), ENOENT));
  // All of it is there when it comes again, under whatever name it is known.
  EXPECT_TRUE(FailsWith(PutLayer(tar, Known(tar)), EALREADY));
  EXPECT_TRUE(FailsWith(PutLayer(tar, Known(tar, digest)), EALREADY));
  // The compressed form is another one, and kept.
  const std::string gzip = support::Gzip(tar);
  EXPECT_TRUE(Succeeds(PutLayer(gzip, Known(tar, Digest::Of(gzip)))));
  EXPECT_EQ(Names(root_ + "/blobs/sha256"), std::set{Digest::Of(gzip).Hex()});
  ExpectNoLeftovers();
}

TEST_F(LayerTest, PlainStreamsAreVerified) {
  const std::string tar = SmallTar();
  EXPECT_TRUE(FailsWith(PutLayer(tar, Known(tar, Digest::Of("other"))), EBADMSG, "digest is"));
  EXPECT_TRUE(FailsWith(PutLayer(tar, Known("other", Digest::Of(tar))), EBADMSG, "diffID is"));
  LayerIngest ingest = Known(tar, Digest::Of(tar));
  ingest.blob_size = tar.size() + 1;
  EXPECT_TRUE(FailsWith(PutLayer(tar, ingest), EBADMSG, "size is"));
  EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
  EXPECT_TRUE(Succeeds(PutLayer(tar, Known(tar, Digest::Of(tar)))));
  ExpectNoLeftovers();
}

// One that an older program unpacked, without the blob that program kept instead.
TEST_F(LayerTest, ALayerWithoutRecipeGetsIt) {
  // An entry that a later one replaces: its content is a file beside the recipe.
  const std::string tar = TarBuilder().AddFile("f", "first").AddFile("f", "second").Finish();
  Must(PutLayer(tar));
  const std::string layer = root_ + "/layers/sha256/" + Digest::Of(tar).Hex();
  const ino_t file = Lstat(layer + "/fs/f").st_ino;
  Must(FileOps::System().Unlink(AT_FDCWD, (layer + "/recipe").c_str()));
  EXPECT_TRUE(FailsWith(store_->layers().TarSize(Digest::Of(tar)), ENOENT));
  EXPECT_TRUE(Succeeds(PutLayer(tar, Known(tar, Digest::Of(tar)))));
  EXPECT_EQ(Must(store_->layers().TarSize(Digest::Of(tar))), tar.size());
  EXPECT_EQ(Lstat(layer + "/fs/f").st_ino, file);  // it may be mounted
  const UniqueFd dir =
      Must(FileOps::System().Open(AT_FDCWD, layer.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  EXPECT_TRUE(Succeeds(LayerTar::Verify(FileOps::System(), dir.get(), Digest::Of(tar))));
  ExpectNoLeftovers();
}

TEST_F(LayerTest, ADeadProcessLeavesNothing) {
  // In the child: a blob and a layer half written, then the end without any clean-up.
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = Store::Open({.root = root_});
    if (!store) ::_exit(1);
    auto lease = (*store)->NewLease();
    if (!lease) ::_exit(2);
    auto blob = (*store)->blobs().Begin(*lease);
    LayerIngest ingest;
    ingest.diff_id = Digest::Of(SmallTar());
    auto sink = (*store)->layers().Begin(ingest, *lease);
    if (!blob || !sink || !*sink || !(*blob)->Write("half")) ::_exit(3);
    if (!(*sink)->Write(SmallTar().substr(0, 2000))) ::_exit(4);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);
  EXPECT_GT(Names(root_ + "/tmp").size(), 1U);
  Reopen();
  ExpectNoLeftovers();
  // The lock it died with does not keep others out.
  EXPECT_TRUE(Succeeds(PutLayer(SmallTar(), Known(SmallTar()))));
}

TEST_F(LayerTest, ALiveProcessKeepsItsStaging) {
  Lease lease = Must(store_->NewLease());
  auto sink = Must(store_->layers().Begin({}, lease));
  Must(sink->Write(SmallTar().substr(0, 1000)));
  {
    const auto other = Must(Store::Open({.root = root_}));
    Must(Collect(*other));
  }
  Must(sink->Write(SmallTar().substr(1000)));
  EXPECT_TRUE(Succeeds(sink->Commit()));
}

TEST_F(LayerTest, ReadOnly) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  const Image image = PutImage({layer.diff_id}, "app");
  store_.reset();
  const auto store = Must(Store::Open({.root = root_, .read_only = true}));
  EXPECT_EQ(Must(store->LowerDirs(Must(store->images().Resolve("app")))).size(), 1U);
  Lease lease = Must(store->NewLease());
  EXPECT_TRUE(Succeeds(lease.PinLayer(layer.diff_id)));  // for nobody who could take it away
  EXPECT_TRUE(FailsWith(store->layers().Begin({}, lease), EROFS));
  EXPECT_FALSE(store->images().Untag(image.tags[0]).has_value());
  EXPECT_FALSE(Prune(*store, {}).has_value());
  EXPECT_TRUE(FailsWith(Store::Open({.root = temp_.At("none"), .read_only = true}), ENOENT));
  EXPECT_NE(::access(temp_.At("none").c_str(), F_OK), 0);
}

TEST_F(LayerTest, RefusesANewerStore) {
  Must(store_->database()->Write([](Connection& connection) {
    return connection.Execute("UPDATE schema_versions SET version=99");
  }));
  store_.reset();
  EXPECT_TRUE(FailsWith(Store::Open({.root = root_}), EPROTONOSUPPORT, "99"));
  EXPECT_TRUE(FailsWith(Store::Open({.root = root_, .read_only = true}), EPROTONOSUPPORT));
}

// With a new one, everything would be garbage.
TEST_F(LayerTest, RefusesAStoreThatLostItsDatabase) {
  const LayerInfo layer = Must(PutLayer(Gzip(SmallTar())));
  const std::string database = root_ + "/meta.db";
  for (const bool empty : {true, false}) {
    store_.reset();
    if (empty) {
      WriteFile(database, "");
    } else {
      std::filesystem::remove(database);
    }
    for (const bool read_only : {false, true}) {
      const auto opened = Store::Open({.root = root_, .read_only = read_only});
      ASSERT_FALSE(opened.has_value());
      EXPECT_EQ(opened.error().code(), EBADMSG);
      EXPECT_NE(opened.error().ToString().find(database), std::string::npos)
          << opened.error().ToString();
    }
    EXPECT_TRUE(std::filesystem::exists(layer.path));
  }
}

// Its database is older than it: one was brought back from a copy, or its log was lost.
TEST_F(LayerTest, ALayerThatLostItsRowIsNoGarbage) {
  const LayerInfo layer = Must(PutLayer(Gzip(SmallTar())));
  Must(store_->database()->Write(
      [](Connection& connection) { return connection.Execute("DELETE FROM layers"); }));
  EXPECT_TRUE(Must(Collect(*store_)).layers.empty());
  EXPECT_TRUE(std::filesystem::exists(layer.path));

  std::vector<Finding> findings;
  Must(CheckStore(*store_, {}, [&](const Finding& finding) {
    if (!Harmless(finding.kind)) findings.push_back(finding);
  }));
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, FindingKind::kLostRow);
  EXPECT_EQ(findings[0].layer, layer.diff_id);
  const auto steps = Must(Repair(*store_, findings));
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_TRUE(steps[0].mended) << steps[0].what;
  EXPECT_FALSE(std::filesystem::exists(layer.path));
  EXPECT_EQ(Names(root_ + "/quarantine").size(), 1U);
}

// Not even the list of what is to be given back has room.
TEST_F(LayerTest, AFullDiskGetsBackWhatAFailedLayerTook) {
  const std::string disk = temp_.At("disk");
  std::filesystem::create_directory(disk);
  support::MustCall(::mount("strata-test", disk.c_str(), "tmpfs", 0, "size=8M"), "mount");
  root_ = disk + "/store";
  Reopen();
  TarBuilder tar;
  for (int i = 0; i < 3000; ++i) tar.AddFile(std::to_string(i), "file " + std::to_string(i));
  const auto put = PutLayer(Gzip(tar.Finish()));
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code(), ENOSPC) << put.error().ToString();
  std::size_t objects = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/objects")) {
    objects += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(objects, 0U);
  EXPECT_TRUE(Succeeds(PutLayer(Gzip(SmallTar()))));
  store_.reset();
  support::MustCall(::umount2(disk.c_str(), MNT_DETACH), "umount");
}

TEST_F(LayerTest, CollectsWhatNothingNeeds) {
  const LayerInfo shared = Must(PutLayer(Gzip(SmallTar("shared"))));
  const LayerInfo own = Must(PutLayer(Gzip(SmallTar("own"))));
  const LayerInfo loose = Must(PutLayer(Gzip(SmallTar("loose"))));
  PutImage({shared.diff_id}, "a");
  PutImage({shared.diff_id, own.diff_id}, "b");
  // A crash between rename and row leaves these two.
  Must(FileOps::System().MakeDir(AT_FDCWD,
                                 (root_ + "/layers/sha256/" + std::string(64, '0')).c_str(), 0700));
  WriteFile(root_ + "/blobs/sha256/" + std::string(64, '1'), "orphan");

  PruneReport report = Must(Collect(*store_));
  EXPECT_EQ(report.layers, (std::vector<Digest>{loose.diff_id, Digest()}));
  EXPECT_EQ(report.blobs.size(), 2U);
  EXPECT_GT(report.reclaimed, 5U);
  EXPECT_EQ(Names(root_ + "/layers/sha256").size(), 2U);
  EXPECT_EQ(Names(root_ + "/blobs/sha256").size(), 2U);

  Must(store_->images().Remove("b", false));
  EXPECT_EQ(Must(Collect(*store_)).layers, std::vector<Digest>{own.diff_id});
  EXPECT_TRUE(Succeeds(store_->layers().Find(shared.diff_id)));
  EXPECT_TRUE(Must(Collect(*store_)).layers.empty());
  ExpectNoLeftovers();
}

TEST_F(LayerTest, CollectsNothingThatIsNotItsOwn) {
  const std::vector<std::string> names = {"/layers/sha256/notes", "/blobs/sha256/notes",
                                          "/chains/sha256/notes", "/blobs/sha256/ABCDEF"};
  for (const std::string& name : names) WriteFile(root_ + name, "an operator's");
  Must(Collect(*store_));
  for (const std::string& name : names) EXPECT_EQ(ReadFile(root_ + name), "an operator's") << name;
}

TEST_F(LayerTest, LeasesHoldAndEnd) {
  std::optional<Lease> lease = Must(store_->NewLease());
  const LayerInfo layer = Must(PutLayer(Gzip(SmallTar()), {}, *lease));
  {
    const auto other = Must(Store::Open({.root = root_}));
    EXPECT_TRUE(Must(Collect(*other)).layers.empty());
    EXPECT_EQ(Must(other->blobs().List()).size(), 1U);
  }
  lease.reset();
  EXPECT_EQ(Must(Collect(*store_)).layers, std::vector<Digest>{layer.diff_id});
  EXPECT_TRUE(Must(store_->blobs().List()).empty());
}

TEST_F(LayerTest, LeasesOfTheDeadEnd) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = Store::Open({.root = root_});
    auto lease = (*store)->NewLease();
    const auto layer = PutLayer(SmallTar(), {}, *lease);
    ::_exit(lease && layer ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(Must(Collect(*store_)).layers.size(), 1U);
}

TEST_F(LayerTest, PruneAndUsers) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  const Image tagged = PutImage({layer.diff_id}, "tagged", "1");
  const Image dangling = PutImage({layer.diff_id}, nullptr, "2");
  const Image used = PutImage({layer.diff_id}, nullptr, "3");
  Must(store_->images().AddUser(used.id, "container:1"));
  PruneReport report = Must(Prune(*store_, {}));
  EXPECT_EQ(report.images, std::vector<Digest>{dangling.id});
  report = Must(Prune(*store_, {.images = {.all = true}}));
  EXPECT_EQ(report.images, std::vector<Digest>{tagged.id});
  ASSERT_EQ(report.untagged.size(), 1U);

  EXPECT_TRUE(FailsWith(store_->images().Remove(used.id.ToString(), false), EBUSY, "container:1"));
  Must(store_->images().Remove(used.id.ToString(), true));
  EXPECT_TRUE(Must(Collect(*store_)).layers.empty());  // the container still runs on it
  Must(store_->images().RemoveUser("container:1"));
  EXPECT_EQ(Must(Collect(*store_)).layers.size(), 1U);
}

TEST_F(LayerTest, ImageNames) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  ImageStore& images = store_->images();
  const Image first = PutImage({layer.diff_id}, "app:1", "1");
  const Image second = PutImage({layer.diff_id}, "app:2", "2");
  EXPECT_EQ(Must(images.List()).size(), 2U);
  EXPECT_EQ(Must(images.Resolve("app:1")).id, first.id);
  EXPECT_EQ(Must(images.Resolve("docker.io/library/app:2")).id, second.id);
  EXPECT_EQ(Must(images.Resolve(first.id.ToString())).id, first.id);
  EXPECT_EQ(Must(images.Resolve(first.id.Hex())).id, first.id);
  EXPECT_EQ(Must(images.Resolve(first.id.Short())).id, first.id);
  EXPECT_EQ(Must(images.Resolve("sha256:" + first.id.Short())).id, first.id);
  EXPECT_EQ(Must(images.Resolve(first.manifest_digest.ToString())).id, first.id);
  EXPECT_TRUE(FailsWith(images.Resolve("app"), ENOENT, "no such image"));
  EXPECT_TRUE(FailsWith(images.Resolve("APP"), EINVAL));
  EXPECT_TRUE(FailsWith(images.Resolve(std::string(64, '0')), ENOENT));
  // A tag wins over the prefix of an id.
  const std::string prefix = first.id.Hex().substr(0, 4);
  Must(images.Tag(second.id, Must(Reference::Parse(prefix + ":latest"))));
  EXPECT_EQ(Must(images.Resolve(prefix)).id, second.id);
  // A name moves.
  Must(images.Tag(second.id, Must(Reference::Parse("app:1"))));
  EXPECT_EQ(Must(images.Resolve("app:1")).id, second.id);
  EXPECT_TRUE(Must(images.Inspect(first.id)).image.tags.empty());
  const Reference pinned = Must(Reference::Parse("reg.io/app@" + first.manifest_digest.ToString()));
  Must(images.Tag(first.id, pinned));
  EXPECT_EQ(Must(images.Resolve(pinned.ToString())).repo_digests.size(), 1U);
  EXPECT_TRUE(FailsWith(images.Tag(first.id, Must(Reference::Parse("x"))), EINVAL));
  EXPECT_TRUE(FailsWith(images.Tag(Digest::Of("none"), pinned), ENOENT));
}

TEST_F(LayerTest, ImagesComeWithAllTheirNamesOrNotAtAll) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  ImageStore& images = store_->images();
  const Image old = PutImage({layer.diff_id}, "app:1", "old");
  const ImageDetail detail = Must(images.Inspect(PutImage({layer.diff_id}, nullptr, "new").id));
  Must(images.Remove(detail.image.id.ToString(), false));

  NewImage image{detail.config_json, detail.manifest_json, detail.image.manifest_media_type, {}};
  const Reference first = Must(Reference::Parse("app:1"));
  image.names = {first, Must(Reference::Parse("no.tag/and-no-digest"))};
  EXPECT_TRUE(FailsWith(images.Put(image), EINVAL, "neither tag nor digest"));
  EXPECT_TRUE(FailsWith(images.Inspect(detail.image.id), ENOENT));
  EXPECT_EQ(Must(images.Resolve("app:1")).id, old.id);

  image.names = {first, Must(Reference::Parse("other:2"))};
  EXPECT_EQ(Must(images.Put(image)).tags.size(), 2U);
  EXPECT_EQ(Must(images.Resolve("app:1")).id, detail.image.id);
  EXPECT_EQ(Must(images.Resolve("other:2")).id, detail.image.id);
}

TEST_F(LayerTest, ListsWhatInspectShows) {
  const LayerInfo first = Must(PutLayer(SmallTar("1")));
  const LayerInfo second = Must(PutLayer(SmallTar("2")));
  ImageStore& images = store_->images();
  EXPECT_TRUE(Must(images.List()).empty());
  for (int i = 0; i < 6; ++i) {
    const std::string name = "app" + std::to_string(i);
    const Image image = PutImage({first.diff_id, (i % 2 == 0 ? second : first).diff_id},
                                 i == 3 ? nullptr : (name + ":b").c_str(), name.c_str());
    if (i > 3) Must(images.Tag(image.id, Must(Reference::Parse(name + ":a"))));
    if (i % 3 == 1) {
      Must(images.Tag(
          image.id, Must(Reference::Parse("x/" + name + "@" + image.manifest_digest.ToString()))));
    }
  }
  const auto list = Must(images.List());
  ASSERT_EQ(list.size(), 6U);
  std::set<std::string> seen;
  for (const Image& image : list) {
    seen.insert(image.id.ToString());
    const Image shown = Must(images.Inspect(image.id)).image;
    EXPECT_EQ(image.diff_ids, shown.diff_ids);
    EXPECT_EQ(image.tags, shown.tags);
    EXPECT_EQ(image.repo_digests, shown.repo_digests);
    EXPECT_EQ(image.manifest_digest, shown.manifest_digest);
    EXPECT_EQ(image.manifest_media_type, shown.manifest_media_type);
    EXPECT_EQ(image.size, shown.size);
    EXPECT_EQ(image.added, shown.added);
    EXPECT_EQ(image.diff_ids.size(), 2U);
    EXPECT_TRUE(std::ranges::is_sorted(image.tags, {}, &Reference::ToString));
  }
  EXPECT_EQ(seen.size(), 6U);
}

TEST_F(LayerTest, UsersByPrefix) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  const Image image = PutImage({layer.diff_id}, "app");
  for (const char* user : {"mount:b", "container:1", "mount:a", "mount", "mounu:c"}) {
    Must(store_->images().AddUser(image.id, user));
  }
  Must(store_->images().Remove("app", true));
  EXPECT_EQ(Must(store_->images().UsersNamed("mount:")),
            (std::vector<std::string>{"mount:a", "mount:b"}));
  EXPECT_TRUE(Must(store_->images().UsersNamed("none:")).empty());
}

TEST_F(LayerTest, RemovingByDockersRules) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  ImageStore& images = store_->images();
  const Image image = PutImage({layer.diff_id}, "app:1");
  Must(images.Tag(image.id, Must(Reference::Parse("app:2"))));
  Must(images.Tag(image.id, Must(Reference::Parse("app@" + image.manifest_digest.ToString()))));
  ImageRemoval removal = Must(images.Remove("app:1", false));
  EXPECT_EQ(removal.untagged.size(), 1U);
  EXPECT_TRUE(removal.deleted.empty());
  Must(images.Tag(image.id, Must(Reference::Parse("other:1"))));
  EXPECT_TRUE(FailsWith(images.Remove(image.id.Short(), false), EBUSY, "multiple repositories"));
  removal = Must(images.Remove("app:2", false));
  EXPECT_EQ(removal.untagged.size(), 2U);  // and the digest of that repository
  Must(images.AddUser(image.id, "container:x"));
  EXPECT_TRUE(FailsWith(images.Remove("other:1", false), EBUSY, "in use"));
  Must(images.RemoveUser("container:x"));
  removal = Must(images.Remove("other:1", false));
  EXPECT_EQ(removal.deleted, std::vector<Digest>{image.id});
  EXPECT_TRUE(FailsWith(images.Remove("other:1", false), ENOENT));
  EXPECT_TRUE(FailsWith(images.Untag(Must(Reference::Parse("other:1"))), ENOENT));
}

TEST_F(LayerTest, PutChecksWhatItIsGiven) {
  const LayerInfo layer = Must(PutLayer(SmallTar()));
  const Image image = PutImage({layer.diff_id}, "app");
  const ImageDetail detail = Must(store_->images().Inspect("app"));
  NewImage bad{detail.config_json, detail.manifest_json, image.manifest_media_type, {}};
  bad.config_json += ' ';
  EXPECT_TRUE(FailsWith(store_->images().Put(bad), EINVAL, "another configuration"));
  bad.config_json = "{}";
  EXPECT_TRUE(FailsWith(store_->images().Put(bad), EINVAL));
  Must(store_->images().Remove("app", false));
  Must(Collect(*store_));
  const NewImage gone{detail.config_json, detail.manifest_json, image.manifest_media_type, {}};
  EXPECT_TRUE(FailsWith(store_->images().Put(gone), ENOENT, layer.diff_id.ToString()));
}

}  // namespace
}  // namespace strata::layerstore
