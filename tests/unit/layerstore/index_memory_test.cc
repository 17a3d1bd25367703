// What indexes need in memory while they are made, whatever the layer: less than a number of bytes
// for each directory, and next to nothing for each file.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <charconv>
#include <chrono>
#include <fstream>
#include <set>
#include <string>

#include "layerstore/index/chain_merge.h"
#include "layerstore/index/index_writer.h"
#include "layerstore/index/layer_scan.h"
#include "layerstore/index/metadata_index.h"
#include "tests/support/files.h"
#include "tests/support/forwarding_file_ops.h"
#include "tests/support/must.h"
#include "tests/support/process.h"
#include "tests/support/temp_root.h"

namespace strata::layerstore {
namespace {

using support::Must;

constexpr rlim_t kMemory = rlim_t{24} << 20U;

// Shows a directory as one with many directories of many files.
class ManyFiles : public support::ForwardingFileOps {
 public:
  ManyFiles(int directories, int files)
      : ForwardingFileOps(FileOps::System()), directories_(directories), files_(files) {}

  Result<UniqueFd> Open(int dir, const char* path, int flags, mode_t mode) override {
    const bool inner = *path == 'd';
    auto fd = ForwardingFileOps::Open(dir, inner ? "." : path, flags, mode);
    if (fd && inner) inner_.insert(fd->get());
    if (fd && !inner) inner_.erase(fd->get());
    return fd;
  }
  Result<> ReadDir(
      int fd, const std::function<bool(std::string_view, ino_t, unsigned char)>& each) override {
    const bool inner = inner_.contains(fd);
    // Not in the order of names.
    for (int i = inner ? files_ : directories_; i > 0; --i) {
      each((inner ? "file-of-a-layer-" : "d") + std::to_string(i), 0, 0);
    }
    return {};
  }
  Result<struct stat> StatAt(int, const char* path, int) override {
    struct stat st = {};
    st.st_mode = *path == 'd' ? S_IFDIR | 0755 : S_IFREG | 0644;
    st.st_ino = ++inodes_;
    st.st_nlink = 2;  // as if an equal file were elsewhere
    st.st_size = 100;
    return st;
  }
  Result<std::vector<std::string>> ListXattrAt(int, const char*) override {
    return std::vector<std::string>();
  }

 private:
  const int directories_;
  const int files_;
  std::set<int> inner_;
  ino_t inodes_ = 0;
};

class IndexMemoryTest : public ::testing::Test {
 protected:
  // In a process that gets no more memory than that.
  static void ExpectLittleMemory(const std::function<void()>& run) {
    auto child = Must(support::ChildProcess::Fork([&] {
      try {
        std::ifstream status("/proc/self/statm");
        rlim_t pages = 0;
        for (int field = 0; field < 6; ++field) status >> pages;  // data and stack
        const rlim_t limit = pages * static_cast<rlim_t>(::getpagesize()) + kMemory;
        const struct rlimit data = {limit, limit};
        if (::setrlimit(RLIMIT_DATA, &data) != 0) return 3;
        run();
        return 0;
      } catch (const std::bad_alloc&) {
        return 1;
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
      }
    }));
    EXPECT_EQ(Must(child.Wait(std::chrono::seconds(150))), 0);
  }

  // Descriptors to write an index to.
  struct Target {
    UniqueFd scratch;
    UniqueFd file;
    IndexFile To() const { return {file.get(), scratch.get()}; }
  };
  Target Make(const std::string& name) const {
    return {support::OpenFile(root_.path(), O_RDONLY | O_DIRECTORY),
            support::OpenFile(root_.At(name), O_WRONLY | O_CREAT | O_EXCL)};
  }
  std::shared_ptr<const MetadataIndex> Index(const std::string& name) const {
    return Must(MetadataIndex::Open(FileOps::System(), AT_FDCWD, root_.At(name).c_str()));
  }
  void Scan(FileOps& files, const std::string& name) const {
    const Target target = Make(name);
    Must(ScanLayer(files, target.scratch.get(), "fs", false, target.To()));
  }

  support::TempRoot root_ = Must(support::TempRoot::Create());
};

TEST_F(IndexMemoryTest, AMillionFiles) {
  ExpectLittleMemory([&] {
    ManyFiles files(1000, 1000);
    Scan(files, "base");
  });
  EXPECT_EQ(Index("base")->entries(), 1'001'001U);
  Must(Index("base")->Verify());

  // A layer that adds two files and hides a directory.
  const std::string top = Must(root_.MakeDir("top"));
  support::MakeDir(top + "/d5");
  support::WriteFile(top + "/d5/new", "x");
  support::WriteFile(top + "/.wh.d6", "");
  support::WriteFile(top + "/also", "x");
  {
    const Target target = Make("layer");
    const UniqueFd fd = support::OpenFile(top, O_RDONLY | O_DIRECTORY);
    Must(ScanLayer(FileOps::System(), fd.get(), "fs", false, target.To()));
  }
  ExpectLittleMemory([&] {
    ChainMerge merge;
    Must(merge.Add(Index("base"), "0"));
    Must(merge.Add(Index("layer"), "1"));
    Must(merge.Finish(FileOps::System(), Make("chain").To()));
  });
  const auto chain = Index("chain");
  EXPECT_EQ(chain->entries(), 1'001'001U - 1001 + 2);
  Must(chain->Verify());
  ASSERT_TRUE(Must(chain->FindDirectory("d5")).has_value());
  EXPECT_EQ(Must(chain->List(*Must(chain->FindDirectory("d5")))).count, 1001U);
  EXPECT_FALSE(Must(chain->FindDirectory("d6")).has_value());
}

TEST_F(IndexMemoryTest, ManyFilesInOneDirectory) {
  ExpectLittleMemory([&] {
    ManyFiles files(1, 400'000);
    Scan(files, "base");
  });
  EXPECT_EQ(Index("base")->entries(), 400'002U);
  Must(Index("base")->Verify());
}

}  // namespace
}  // namespace strata::layerstore
