// Indexes in the store: when they are made, made again, and removed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "layerstore/chain/chain_store.h"
#include "layerstore/gc/collector.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/meta/database.h"
#include "layerstore/oci/image_config.h"
#include "tests/support/test_disk.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::MustCall;
using support::TarBuilder;

class ChainTest : public StoreTest {
 protected:
  Digest Layer(const std::string& name) {
    return Must(PutLayer(TarBuilder().AddDirectory("d").AddFile("d/" + name, name).Finish()))
        .diff_id;
  }
  static std::shared_ptr<const MetadataIndex> Index(const std::string& dir) {
    return Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, (dir + "/index").c_str()));
  }
  std::string LayerDir(const Digest& diff_id) { return root_ + "/layers/sha256/" + diff_id.Hex(); }
  // How many names the chain shows in d.
  static std::uint32_t Shown(const std::string& chain) {
    const auto index = Index(chain);
    return Must(index->List(*Must(index->FindDirectory("d")))).count;
  }
};

TEST_F(ChainTest, ALayerIsPublishedWithItsIndex) {
  const Digest layer = Layer("a");
  const auto index = Index(LayerDir(layer));
  EXPECT_EQ(index->kind(), MetadataIndex::Kind::kLayer);
  EXPECT_EQ(index->layers().front().proof, LayerProof::Of(Lstat(LayerDir(layer) + "/fs")));
  Must(index->Verify());
  EXPECT_EQ(index->entries(), 3U);
}

TEST_F(ChainTest, AChainIsMadeOnceAndFromAShorterOne) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b"), Layer("c")};
  const std::string two = Must(store_->chains().Ensure(std::span(layers).first(2)));
  EXPECT_EQ(two, root_ + "/chains/sha256/" + ChainId(std::span(layers).first(2)).Hex());
  EXPECT_EQ(Shown(two), 2U);
  // The lowest layer's own index is not needed any more.
  MustCall(::unlink((LayerDir(layers[0]) + "/index").c_str()), "unlink");
  const std::string three = Must(store_->chains().Ensure(layers));
  EXPECT_EQ(Shown(three), 3U);
  EXPECT_THROW(Index(LayerDir(layers[0])), std::runtime_error);
  const ino_t made = Lstat(three + "/index").st_ino;
  EXPECT_EQ(Must(store_->chains().Ensure(layers)), three);
  EXPECT_EQ(Lstat(three + "/index").st_ino, made);
  ExpectNoLeftovers();
}

TEST_F(ChainTest, LayersOfEarlierProgramsAreIndexedWhenNeeded) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  for (const Digest& layer : layers) {
    MustCall(::unlink((LayerDir(layer) + "/index").c_str()), "unlink");
  }
  std::filesystem::remove_all(root_ + "/chains");
  Reopen();
  EXPECT_EQ(Shown(Must(store_->chains().Ensure(layers))), 2U);
  EXPECT_EQ(Index(LayerDir(layers[0]))->kind(), MetadataIndex::Kind::kLayer);
}

TEST_F(ChainTest, DamageIsRepaired) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  const std::string chain = Must(store_->chains().Ensure(layers));
  const std::string whole = ReadFile(chain + "/index");
  for (std::size_t at = 0; at < whole.size(); at += 97) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(~damaged[at]);
    WriteFile(chain + "/index", damaged);
    if (at % 2 == 0) WriteFile(LayerDir(layers[0]) + "/index", damaged);
    ASSERT_EQ(Must(store_->chains().Ensure(layers)), chain);
    ASSERT_EQ(ReadFile(chain + "/index"), whole) << at;
  }
  WriteFile(chain + "/index", whole.substr(0, whole.size() / 2));
  Must(store_->chains().Ensure(layers));
  EXPECT_EQ(ReadFile(chain + "/index"), whole);
  // One that belongs to others is damage, too.
  const std::vector<Digest> other = {layers[1], layers[0]};
  WriteFile(chain + "/index", ReadFile(Must(store_->chains().Ensure(other)) + "/index"));
  Must(store_->chains().Ensure(layers));
  EXPECT_EQ(ReadFile(chain + "/index"), whole);
}

TEST_F(ChainTest, LayersGiveTheirOwnIndexes) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  const auto names = [&] {
    std::vector<std::string> firsts;
    for (const auto& index : Must(store_->chains().LayerIndexes(layers))) {
      const auto in_d = Must(index->List(*Must(index->FindDirectory("d"))));
      firsts.emplace_back(Must(index->NameAt(in_d.first)).name);
    }
    return firsts;
  };
  const std::vector<std::string> expected = {"a", "b"};
  EXPECT_EQ(names(), expected);
  MustCall(::unlink((LayerDir(layers[0]) + "/index").c_str()), "unlink");
  WriteFile(LayerDir(layers[1]) + "/index", "damaged");
  EXPECT_EQ(names(), expected);
  const Digest absent = Digest::Of("absent");
  EXPECT_TRUE(FailsWith(store_->chains().LayerIndexes({&absent, 1}), ENOENT, absent.ToString()));
  ExpectNoLeftovers();
}

// Mounting must not take longer the more files an image has, so a file is checked from end to end
// once. What rots after that shows where it is read, and the next daemon makes the index again.
TEST_F(ChainTest, IndexesOfAnEarlierVersionAreMadeAgain) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  const std::string chain = Must(store_->chains().Ensure(layers));
  const std::string whole = ReadFile(chain + "/index");
  const std::vector<std::string> files = {chain + "/index", LayerDir(layers[0]) + "/index",
                                          LayerDir(layers[1]) + "/index"};
  constexpr std::size_t kVersionAt = 8;
  for (const std::string& file : files) {
    std::string bytes = ReadFile(file);
    bytes[kVersionAt] = 1;
    WriteFile(file, bytes);
    EXPECT_TRUE(
        FailsWith(MetadataIndex::Open(FileOps::System(), AT_FDCWD, file.c_str()), EPROTONOSUPPORT));
  }
  EXPECT_EQ(Must(store_->chains().Ensure(layers)), chain);
  EXPECT_EQ(ReadFile(chain + "/index"), whole);
  for (const Digest& layer : layers) Must(Index(LayerDir(layer))->Verify());
}

// What its unpacker knew of a layer's files is what its directory tells, only sooner.
TEST_F(ChainTest, ALayersIndexIsTheSameWhenMadeAgain) {
  const Digest layer =
      Must(PutLayer(TarBuilder()
                        .AddDirectory("d")
                        .AddFile("d/f", "content")
                        .Add({.name = "d/link", .type = '1', .link = "d/f"})
                        .AddFile("plain", "x")
                        .Add({.name = "marked", .pax = {{"SCHILY.xattr.user.a", "b"}}})
                        .AddDirectory("over")
                        .AddFile("over/.wh..wh..opq", "")
                        .AddFile(".wh.gone", "")
                        .Finish()))
          .diff_id;
  const std::string file = LayerDir(layer) + "/index";
  const std::string made = ReadFile(file);
  const auto index = Index(LayerDir(layer));
  const auto entry = [&](MetadataIndex::Directory directory, const char* name) {
    return Must(index->At(*Must(index->Find(directory, name))));
  };
  EXPECT_TRUE(entry(MetadataIndex::kRoot, "marked").has_xattrs);
  EXPECT_FALSE(entry(MetadataIndex::kRoot, "plain").has_xattrs);
  EXPECT_TRUE(entry(MetadataIndex::kRoot, "over").opaque);
  EXPECT_EQ(entry(*Must(index->FindDirectory("d")), "link").attr.st_nlink, 2U);
  MustCall(::unlink(file.c_str()), "unlink");
  Must(store_->chains().Ensure({&layer, 1}));
  EXPECT_EQ(ReadFile(file), made);
}

// A root process and one in a user namespace would else make the indexes again in turns.
TEST_F(ChainTest, MarksAreThoseOfWhoUnpackedTheLayer) {
  const Digest layer = Layer("a");
  EXPECT_FALSE(Index(LayerDir(layer))->user_marks());
  const std::string chain = Must(store_->chains().Ensure({&layer, 1}));
  const auto make_again = [&] {
    MustCall(::unlink((chain + "/index").c_str()), "unlink");
    Must(store_->chains().Ensure({&layer, 1}));
    return Index(chain)->user_marks();
  };
  // As an unpacker without root's rights would have recorded it.
  Must(store_->database()->Write(
      [](Connection& connection) { return connection.Execute("UPDATE layers SET user_marks=1"); }));
  EXPECT_FALSE(make_again()) << "the layer's index is there and says so";
  MustCall(::unlink((LayerDir(layer) + "/index").c_str()), "unlink");
  EXPECT_TRUE(make_again());
  const ino_t made = Lstat(LayerDir(layer) + "/index").st_ino;
  EXPECT_TRUE(make_again());
  EXPECT_EQ(Lstat(LayerDir(layer) + "/index").st_ino, made) << "made again for no reason";

  // Nothing is recorded by earlier programs, but their indexes are there.
  Must(store_->database()->Write([](Connection& connection) {
    return connection.Execute("UPDATE layers SET user_marks=NULL");
  }));
  std::string bytes = ReadFile(LayerDir(layer) + "/index");
  constexpr std::size_t kVersionAt = 8;
  bytes[kVersionAt] = 1;
  WriteFile(LayerDir(layer) + "/index", bytes);
  EXPECT_TRUE(make_again());
}

TEST_F(ChainTest, AFileIsCheckedOnceAndAgainByTheNextStore) {
  const auto disk =
      Must(support::TestDisk::Create(temp_, "disk", support::Filesystem::kExt4NoJournal, 32));
  root_ = disk.path() + "/store";
  Reopen();
  const std::vector<Digest> layers = {Layer("needle"), Layer("b")};
  const std::string chain = Must(store_->chains().Ensure(layers));
  const std::string whole = ReadFile(chain + "/index");
  const ino_t made = Lstat(chain + "/index").st_ino;

  // On the disk itself, so that nothing says that the file was written to.
  const std::size_t at = whole.find("needle");
  const std::string image = ReadFile(disk.image());
  const std::size_t on_disk = image.find(whole.substr(0, at));
  ASSERT_NE(on_disk, std::string::npos);
  {
    const UniqueFd fd(MustCall(::open(disk.image().c_str(), O_RDWR | O_CLOEXEC), "open"));
    MustCall(::pwrite(fd.get(), "N", 1, static_cast<off_t>(on_disk + at)), "pwrite");
    const UniqueFd index(
        MustCall(::open((chain + "/index").c_str(), O_RDONLY | O_CLOEXEC), "open"));
    ASSERT_EQ(::posix_fadvise(index.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  }
  ASSERT_NE(ReadFile(chain + "/index"), whole);
  EXPECT_EQ(Must(store_->chains().Ensure(layers)), chain);
  EXPECT_EQ(Lstat(chain + "/index").st_ino, made);
  const auto index = Index(chain);
  EXPECT_TRUE(FailsWith(index->FindDirectory("d"), EBADMSG, ""));
  Reopen();
  EXPECT_EQ(Must(store_->chains().Ensure(layers)), chain);
  EXPECT_EQ(ReadFile(chain + "/index"), whole);
}

TEST_F(ChainTest, AChangedLayerIsIndexedAgain) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  const std::string chain = Must(store_->chains().Ensure(layers));
  WriteFile(LayerDir(layers[1]) + "/fs/new", "x");
  Must(store_->chains().Ensure(layers));
  EXPECT_TRUE(Must(Index(chain)->Find(MetadataIndex::kRoot, "new")).has_value());
  // As many names as before, in a directory of another number.
  std::filesystem::rename(LayerDir(layers[1]) + "/fs", root_ + "/old");
  std::filesystem::copy(root_ + "/old", LayerDir(layers[1]) + "/fs",
                        std::filesystem::copy_options::recursive);
  Must(store_->chains().Ensure(layers));
  const auto index = Index(chain);
  EXPECT_EQ(index->layers()[1].proof, LayerProof::Of(Lstat(LayerDir(layers[1]) + "/fs")));
}

TEST_F(ChainTest, CollectionRemovesWhatIsNoImagesChain) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  PutImage(layers, "app");
  const std::string chain = Must(store_->chains().Ensure(layers));
  const std::string part = Must(store_->chains().Ensure(std::span(layers).first(1)));
  Must(Collect(*store_));
  EXPECT_TRUE(std::filesystem::exists(chain));
  EXPECT_FALSE(std::filesystem::exists(part));
  Must(store_->images().Remove("app", false));
  Must(Collect(*store_));
  EXPECT_FALSE(std::filesystem::exists(chain));
  ExpectNoLeftovers();
}

TEST_F(ChainTest, AReadOnlyStoreUsesWhatThereIs) {
  const std::vector<Digest> layers = {Layer("a"), Layer("b")};
  const std::string chain = Must(store_->chains().Ensure(layers));
  store_.reset();
  const auto store = Must(Store::Open({.root = root_, .read_only = true}));
  EXPECT_EQ(Must(store->chains().Ensure(layers)), chain);
  const std::string one = Must(store->chains().Ensure(std::span(layers).first(1)));
  EXPECT_FALSE(one.starts_with(root_)) << one;
  EXPECT_EQ(Shown(one), 1U);
  EXPECT_TRUE(FailsWith(store->chains().Ensure({}), EINVAL));
}

}  // namespace
}  // namespace strata::layerstore
