// Layers on filesystems that have fs-verity, under a kernel that has it: what is guarded, what
// becomes of bytes that change on the disk, and how it is mended. Takes the disks /dev/vda and
// /dev/vdb, whose contents are lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fault_file_ops.h"
#include "base/verity.h"
#include "layerstore/fsck/checker.h"
#include "layerstore/fsck/repair.h"
#include "layerstore/gc/collector.h"
#include "layerstore/scrub/scrubber.h"
#include "tests/support/process.h"
#include "tests/support/union_mount.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::MustCall;
using support::TarBuilder;
using Depth = CheckOptions::Depth;

struct Disk {
  const char* filesystem;
  const char* device;
  std::vector<std::string> make;
  const char* options;
};
void PrintTo(const Disk& disk, std::ostream* out) { *out << disk.filesystem; }

// Without btrfs's own checksums, so that it is fs-verity which refuses.
const Disk kExt4 = {
    "ext4", "/dev/vda", {"mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "verity"}, ""};
const Disk kBtrfs = {"btrfs", "/dev/vdb", {"mkfs.btrfs", "-q", "-f"}, "nodatasum"};

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kBigBytes = 50 * kBlock + 17;

// Bytes that are nowhere else on the disk, and another file's for another seed.
std::string Random(std::size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  std::uint64_t state = 0x9E3779B97F4A7C15U * (seed + 1);
  for (char& byte : bytes) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    byte = static_cast<char>(state >> 32U);
  }
  return bytes;
}

const std::string& Big() {
  static const std::string bytes = Random(kBigBytes, 1);
  return bytes;
}

std::string BaseTar() {
  return TarBuilder()
      .AddDirectory("./usr")
      .AddFile("./usr/big", Big())
      .Add({.name = "./usr/alias", .type = '1', .link = "usr/big"})
      .AddFile("./usr/edge", Random(kGuardedBytes, 2))
      .AddFile("./usr/below", Random(kGuardedBytes - 1, 3))
      .AddFile("./small", "small")
      .AddFile("./empty", "")
      // Kept in replaced/, for the tar.
      .AddFile("./twice", Random(kGuardedBytes, 4))
      .AddFile("./twice", Random(kGuardedBytes, 5))
      .Finish();
}

// Another layer with the same file.
std::string OtherTar() {
  return TarBuilder()
      .AddDirectory("./usr")
      .AddFile("./usr/big", Big())
      .AddFile("./b", "b")
      .Finish();
}

class LayerVerityTest : public StoreTest, public ::testing::WithParamInterface<Disk> {
 protected:
  LayerVerityTest() {
    store_.reset();
    disk_ = Must(temp_.MakeDir("disk"));
    std::vector<std::string> command = GetParam().make;
    command.emplace_back(GetParam().device);
    Must(support::RunTool(command));
    Mount();
    root_ = disk_ + "/store";
    Reopen();
  }
  ~LayerVerityTest() override { store_.reset(); }

  void Mount() {
    MustCall(
        ::mount(GetParam().device, disk_.c_str(), GetParam().filesystem, 0, GetParam().options),
        "mount");
  }

  void ReopenWith(Verity verity) {
    store_.reset();
    store_ = Must(Store::Open({.root = root_, .verity = verity}));
  }

  // A layer whose blob is kept.
  LayerInfo Put(const std::string& tar) { return Must(PutLayer(Gzip(tar))); }

  std::string LayerDir(const LayerInfo& layer) const {
    return root_ + "/layers/sha256/" + layer.diff_id.Hex();
  }

  static bool Guarded(const std::string& path) { return Must(HasVerity(AT_FDCWD, path.c_str())); }

  // Of all regular files below it.
  static void ExpectGuardedFrom(std::int64_t bytes, const std::string& tree) {
    int seen = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(tree)) {
      if (!entry.is_regular_file()) continue;
      ++seen;
      const std::string path = entry.path();
      EXPECT_EQ(Guarded(path), Lstat(path).st_size >= bytes) << path;
    }
    EXPECT_GT(seen, 0) << tree;
  }

  std::vector<Finding> Check(Depth depth = Depth::kDeep) {
    std::vector<Finding> findings;
    Must(CheckStore(*store_, {.depth = depth},
                    [&](Finding finding) { findings.push_back(std::move(finding)); }));
    return findings;
  }

  void ExpectClean() {
    for (const Finding& finding : Check()) ADD_FAILURE() << finding.ToString();
  }

  void ExpectOneFinding(FindingKind kind, const LayerInfo& layer, const std::string& path) {
    const auto findings = Check();
    ASSERT_EQ(findings.size(), 1U) << (findings.empty() ? "" : findings.back().ToString());
    EXPECT_EQ(findings[0].kind, kind) << findings[0].ToString();
    EXPECT_EQ(findings[0].layer, layer.diff_id);
    EXPECT_EQ(findings[0].path, path);
  }

  void ExpectMended() {
    for (const RepairStep& step : Must(Repair(*store_, Check()))) {
      EXPECT_TRUE(step.mended) << step.what;
      EXPECT_NE(step.what.find("mended from blob"), std::string::npos) << step.what;
    }
    ExpectClean();
  }

  // Changes one bit on the disk, of the block with these bytes; the store is closed before and
  // opened after it.
  void ChangeOnDisk(std::string_view block) {
    ASSERT_EQ(block.size(), kBlock);
    store_.reset();
    MustCall(::umount(disk_.c_str()), "umount");
    {
      const UniqueFd device(::open(GetParam().device, O_RDWR | O_CLOEXEC));
      ASSERT_TRUE(device);
      constexpr std::size_t kPiece = std::size_t{1} << 20U;
      std::vector<char> piece(kPiece);
      int changed = 0;
      for (off_t at = 0;; at += static_cast<off_t>(kPiece)) {
        const ssize_t got = ::pread(device.get(), piece.data(), kPiece, at);
        if (got <= 0) break;
        for (std::size_t i = 0; i + kBlock <= static_cast<std::size_t>(got); i += kBlock) {
          if (std::memcmp(&piece[i], block.data(), kBlock) != 0) continue;
          const char other = static_cast<char>(piece[i + 100] ^ 1);
          const off_t where = at + static_cast<off_t>(i) + 100;
          ASSERT_EQ(::pwrite(device.get(), &other, 1, where), 1);
          ++changed;
        }
      }
      EXPECT_GE(changed, 1);  // what earlier tests left there is changed, too
      MustCall(::fsync(device.get()), "fsync");
    }
    Mount();
    Reopen();
  }

  // What the bytes from `offset` are; errno's negative for an error.
  static std::pair<ssize_t, std::string> Read(const std::string& path, off_t offset) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return {-errno, {}};
    std::string bytes(kBlock, '\0');
    const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), offset);
    if (got < 0) return {-errno, {}};
    bytes.resize(static_cast<std::size_t>(got));
    return {got, bytes};
  }

  std::string disk_;
};

TEST_P(LayerVerityTest, LargeFilesAreGuarded) {
  const LayerInfo layer = Put(BaseTar());
  ExpectGuardedFrom(kGuardedBytes, layer.path);
  ExpectGuardedFrom(kGuardedBytes, LayerDir(layer) + "/replaced");
  ExpectGuardedFrom(kGuardedBytes, root_ + "/objects");
  EXPECT_TRUE(Guarded(LayerDir(layer) + "/recipe"));
  for (const int flags : {O_WRONLY, O_RDWR}) {
    EXPECT_EQ(::open((layer.path + "/usr/big").c_str(), flags | O_CLOEXEC), -1);
    EXPECT_EQ(errno, EPERM);
  }
  EXPECT_TRUE(ReadFile(layer.path + "/usr/alias") == Big());
  ExpectNoLeftovers();
  ExpectClean();
}

TEST_P(LayerVerityTest, WhichFilesIsASetting) {
  ReopenWith(Verity::kOff);
  const LayerInfo off = Put(BaseTar());
  ExpectGuardedFrom(INT64_MAX, LayerDir(off));
  ReopenWith(Verity::kAll);
  // A file that was there before stays as it is, and so there is no promise.
  const LayerInfo mixed = Put(OtherTar());
  EXPECT_EQ(Lstat(off.path + "/usr/big").st_ino, Lstat(mixed.path + "/usr/big").st_ino);
  EXPECT_FALSE(Guarded(mixed.path + "/usr/big"));
  EXPECT_TRUE(Guarded(mixed.path + "/b"));
  EXPECT_FALSE(Guarded(LayerDir(mixed) + "/recipe"));
  const LayerInfo all = Put(TarBuilder().AddFile("c", "c").AddFile("empty", "").Finish());
  ExpectGuardedFrom(1, all.path);
  EXPECT_TRUE(Guarded(LayerDir(all) + "/recipe"));
  ExpectClean();
}

TEST_P(LayerVerityTest, FilesOfSeveralLayersAreOne) {
  const LayerInfo first = Put(BaseTar());
  const LayerInfo second = Put(OtherTar());
  EXPECT_EQ(Lstat(first.path + "/usr/big").st_ino, Lstat(second.path + "/usr/big").st_ino);
  EXPECT_TRUE(Guarded(LayerDir(second) + "/recipe"));
  ExpectClean();
}

TEST_P(LayerVerityTest, AChangedByteIsAnError) {
  const LayerInfo layer = Put(BaseTar());
  PutImage({layer.diff_id}, "app");
  constexpr off_t kBad = 20 * kBlock;
  ChangeOnDisk(std::string_view(Big()).substr(kBad, kBlock));

  const std::string chain = Must(store_->chains().Ensure(std::vector{layer.diff_id}));
  support::UnionSpec spec{.chain = chain,
                          .upper = Must(temp_.MakeDir("upper")),
                          .work = Must(temp_.MakeDir("work")),
                          .mount_point = Must(temp_.MakeDir("shown"))};
  auto mount = Must(support::UnionMount::Start(support::Mounter::kStratafs, spec));
  const std::string big = spec.mount_point + "/usr/big";
  EXPECT_TRUE(Read(big, 0).second == Big().substr(0, kBlock));
  EXPECT_EQ(Read(big, kBad).first, -EIO);
  EXPECT_TRUE(Read(big, kBad + kBlock).second == Big().substr(kBad + kBlock, kBlock));
  // Nor does a container get it by writing to the file; others it can.
  {
    const UniqueFd file(::open(big.c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_TRUE(!file || ::pwrite(file.get(), "x", 1, 0) == -1);
    EXPECT_EQ(errno, EIO);
    EXPECT_FALSE(std::filesystem::exists(spec.upper + "/usr/big"));
  }
  WriteFile(spec.mount_point + "/usr/edge", "new");
  EXPECT_EQ(ReadFile(spec.upper + "/usr/edge"), "new");
  Must(mount.Stop());

  {
    const auto scrubber = Must(Scrubber::Open(*store_, {.every = {}, .bytes_per_second = 0}));
    Must(scrubber->Start(0));
    for (int i = 0; i < 600 && scrubber->Report().state == ScrubReport::State::kRunning; ++i) {
      ::usleep(50'000);
    }
    ASSERT_EQ(scrubber->Report().findings.size(), 1U);
    EXPECT_NE(scrubber->Report().findings[0].text.find("'usr/big': content: can not be read"),
              std::string::npos)
        << scrubber->Report().findings[0].text;
  }
  ExpectOneFinding(FindingKind::kContent, layer, "usr/big");
  ExpectMended();
  EXPECT_TRUE(ReadFile(layer.path + "/usr/big") == Big());
  ExpectGuardedFrom(kGuardedBytes, layer.path);
}

TEST_P(LayerVerityTest, ADamagedFileIsNotShared) {
  const LayerInfo first = Put(BaseTar());
  ChangeOnDisk(std::string_view(Big()).substr(30 * kBlock, kBlock));
  const LayerInfo second = Put(OtherTar());
  EXPECT_TRUE(ReadFile(second.path + "/usr/big") == Big());
  EXPECT_NE(Lstat(first.path + "/usr/big").st_ino, Lstat(second.path + "/usr/big").st_ino);
  EXPECT_TRUE(Guarded(second.path + "/usr/big"));
  ExpectOneFinding(FindingKind::kContent, first, "usr/big");
  ExpectMended();
  EXPECT_EQ(Lstat(first.path + "/usr/big").st_ino, Lstat(second.path + "/usr/big").st_ino);
}

TEST_P(LayerVerityTest, AFileThatSomebodyPutThereIsTold) {
  const LayerInfo layer = Put(BaseTar());
  const std::string edge = layer.path + "/usr/edge";
  const struct stat directory = Lstat(layer.path + "/usr");
  Must(support::RunTool({"cp", "-p", edge, edge + ".new"}));
  std::filesystem::rename(edge + ".new", edge);
  const struct timespec times[2] = {directory.st_atim, directory.st_mtim};
  MustCall(::utimensat(AT_FDCWD, (layer.path + "/usr").c_str(), times, 0), "utimensat");
  auto findings = Check(Depth::kNormal);
  std::erase_if(findings, [](auto& finding) { return finding.kind == FindingKind::kGarbage; });
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, FindingKind::kUnguarded) << findings[0].ToString();
  EXPECT_EQ(findings[0].path, "usr/edge");
  ExpectMended();
  EXPECT_TRUE(Guarded(edge));
}

TEST_P(LayerVerityTest, LayersAreRemovedAsEver) {
  ReopenWith(Verity::kAll);
  const LayerInfo first = Put(BaseTar());
  const LayerInfo second = Put(OtherTar());
  PutImage({first.diff_id}, "first");
  PutImage({second.diff_id}, "second");
  Must(store_->images().Remove("first", false));
  Must(Collect(*store_));
  EXPECT_FALSE(std::filesystem::exists(first.path));
  EXPECT_TRUE(ReadFile(second.path + "/usr/big") == Big());
  Must(store_->images().Remove("second", false));
  Must(Collect(*store_));
  EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/objects")) {
    EXPECT_TRUE(entry.is_directory()) << entry.path();
  }
  ExpectNoLeftovers();
}

// Whoever has it open keeps the layer from being published for a while, and not at all if that does
// not end.
TEST_P(LayerVerityTest, AFileThatIsBeingWrittenIsNamed) {
  UniqueFd writer;
  std::atomic<bool> is_open = false;
  FaultFileOps ops(FileOps::System(), [&](const FaultFileOps::Call& call) {
    if (call.name != "Unlink" || std::string_view(call.path) != "probe") return 0;
    for (const std::string& owner : Names(root_ + "/tmp")) {
      const std::string file = root_ + "/tmp/" + owner + "/layer-0/fs/usr/big";
      if (!writer) writer.reset(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    }
    is_open = static_cast<bool>(writer);
    return 0;
  });
  Reopen(&ops);
  EXPECT_TRUE(FailsWith(PutLayer(OtherTar()), ETXTBSY, "usr/big"));
  EXPECT_TRUE(writer);
  ExpectNoLeftovers();

  writer.reset();
  is_open = false;
  Reopen(&ops);
  std::jthread closer([&] {
    for (int i = 0; i < 600 && !is_open; ++i) ::usleep(50'000);
    ::usleep(500'000);
    writer.reset();
  });
  const LayerInfo layer = Must(PutLayer(OtherTar()));
  ExpectGuardedFrom(kGuardedBytes, layer.path);
  closer.join();
  store_.reset();
}

INSTANTIATE_TEST_SUITE_P(Filesystems, LayerVerityTest, ::testing::Values(kExt4, kBtrfs),
                         [](const auto& disk) { return std::string(disk.param.filesystem); });

// ext4 stops as with a power failure at each step from the first file that is guarded until the
// layer is published.
class LayerVerityPower : public LayerVerityTest {
 protected:
  void Cut() {
    constexpr unsigned long kShutdown = _IOR('X', 125, std::uint32_t);  // EXT4_IOC_SHUTDOWN
    std::uint32_t without_log = 2;
    const UniqueFd root(::open(disk_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MustCall(::ioctl(root.get(), kShutdown, &without_log), "shutdown");
  }

  // Imports `tar`; the power fails at the step `at`. Whether it came to that.
  bool PutWithCut(const std::string& tar, int at) {
    int steps = -1;
    FaultFileOps ops(FileOps::System(), [&](const FaultFileOps::Call& call) {
      if (call.name == "Unlink" && std::string_view(call.path) == "probe") steps = 0;
      if (steps >= 0 && steps++ == at) Cut();
      return 0;
    });
    store_ = Must(Store::Open({.root = root_, .verity = Verity::kAll, .ops = &ops}));
    const auto put = PutLayer(Gzip(tar));
    store_.reset();
    const bool cut = steps > at;
    EXPECT_TRUE(cut || put);
    return cut;
  }
};

TEST_P(LayerVerityPower, FailsAtEveryStep) {
  store_.reset();
  int at = 0;
  for (;; ++at) {
    SCOPED_TRACE(at);
    const std::string large = Random(kGuardedBytes + 100, 100 + static_cast<unsigned>(at));
    const std::string tar = TarBuilder()
                                .AddFile("large", large)
                                .AddFile("small", "small" + std::to_string(at))
                                .AddFile("twice", "first")
                                .AddFile("twice", "second")
                                .Finish();
    const bool cut = PutWithCut(tar, at);
    MustCall(::umount(disk_.c_str()), "umount");
    Mount();
    Reopen();
    for (const Finding& finding : Check()) {
      EXPECT_TRUE(Harmless(finding.kind)) << finding.ToString();
    }
    if (!store_->layers().Find(Digest::Of(tar))) Put(tar);
    const LayerInfo layer = Must(store_->layers().Find(Digest::Of(tar)));
    EXPECT_TRUE(ReadFile(layer.path + "/large") == large);
    EXPECT_TRUE(Guarded(layer.path + "/large"));
    Must(Collect(*store_));
    ExpectNoLeftovers();
    store_.reset();
    if (!cut || HasFailure()) break;
  }
  EXPECT_GT(at, 20);
  Reopen();
}

INSTANTIATE_TEST_SUITE_P(Filesystems, LayerVerityPower, ::testing::Values(kExt4),
                         [](const auto& disk) { return std::string(disk.param.filesystem); });

// An ext4 without it is as every other filesystem.
TEST(LayerVerityNowhere, NothingIsGuarded) {
  const auto temp = Must(support::TempRoot::Create());
  const std::string disk = Must(temp.MakeDir("disk"));
  Must(support::RunTool({"mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^verity", "/dev/vda"}));
  MustCall(::mount("/dev/vda", disk.c_str(), "ext4", 0, ""), "mount");
  auto store = Must(Store::Open({.root = disk + "/store", .verity = Verity::kAll}));
  {
    Lease lease = Must(store->NewLease());
    const auto sink = Must(store->layers().Begin({}, lease));
    Must(sink->Write(BaseTar()));
    const LayerInfo layer = Must(sink->Commit());
    EXPECT_FALSE(Must(HasVerity(AT_FDCWD, (layer.path + "/usr/big").c_str())));
    Must(CheckStore(*store, {.depth = Depth::kDeep},
                    [](const Finding& finding) { ADD_FAILURE() << finding.ToString(); }));
  }
  store.reset();
}

}  // namespace
}  // namespace strata::layerstore
