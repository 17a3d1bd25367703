// What unpacking needs in memory, whatever the layer.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "layerstore/archive/unpacker.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/test_disk.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::layerstore {
namespace {

using support::Must;

// From /proc/self/status, in KiB.
long OwnMemory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string word;
  long kibibytes = 0;
  while (status >> word) {
    if (word == field + ':' && status >> kibibytes) return kibibytes;
  }
  throw std::runtime_error("no " + field);
}

void ResetPeak() {
  std::ofstream file("/proc/self/clear_refs");
  if (!(file << "5" << std::flush)) throw std::runtime_error("clear_refs");
}

// As a layer would have them: parents first, many directories of long names.
std::string DirectoryEntry(int i) {
  const std::string name =
      "top-" + std::to_string(i % 10) + "/" + std::string(150, 'd') + "-" + std::to_string(i);
  const std::string tar = support::TarBuilder().AddDirectory(name).Finish();
  return tar.substr(0, tar.size() - std::size_t{2} * 512);  // without the archive's end
}

TEST(UnpackerMemoryTest, ManyDirectories) {
  constexpr int kDirectories = 200'000;
  constexpr long kGrowthMax = 10 * 1024;
  const auto temp = Must(support::TempRoot::Create());
  const auto disk = Must(support::TestDisk::Create(temp, "disk", support::Filesystem::kTmpfs));
  auto& ops = FileOps::System();
  const UniqueFd root = Must(ops.Open(AT_FDCWD, disk.path().c_str(), O_RDONLY | O_DIRECTORY));

  int next = 0;
  std::string chunk;
  TarReader reader([&]() -> Result<std::string_view> {
    if (next == kDirectories) {
      chunk.assign(next++ == kDirectories ? 1024 : 0, '\0');
    } else {
      chunk = next < kDirectories ? DirectoryEntry(next++) : "";
    }
    return std::string_view(chunk);
  });
  ResetPeak();
  const long before = OwnMemory("VmRSS");
  const UnpackSummary summary = Must(Unpacker(ops, root.get(), {}).Run(reader));
  EXPECT_EQ(summary.entries, static_cast<std::uint64_t>(kDirectories));
  EXPECT_LT(OwnMemory("VmHWM") - before, kGrowthMax);
}

}  // namespace
}  // namespace strata::layerstore
