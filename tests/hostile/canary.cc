#include "tests/hostile/canary.h"

#include <fstream>
#include <stdexcept>

#include "layerstore/fsck/checker.h"
#include "tests/support/files.h"
#include "tests/support/must.h"

namespace strata::hostile {
namespace {

using support::Must;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

support::TreeSnapshot MakeCanary(const std::string& path) {
  support::MakeDir(path);
  support::MakeDir(path + "/directory");
  support::WriteFile(path + "/file", "untouched", 0640);
  support::WriteFile(path + "/directory/inner", "untouched");
  Must(FileOps::System().SymLink("file", AT_FDCWD, (path + "/link").c_str()));
  return Must(support::TreeSnapshot::Take(path));
}

// From /proc/self/status.
std::uint64_t OwnMemory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string word;
  std::uint64_t kibibytes = 0;
  while (status >> word) {
    if (word == field + ':' && status >> kibibytes) return kibibytes * 1024;
  }
  throw std::runtime_error("no " + field);
}

}  // namespace

Canary::Canary(const std::string& directory)
    : path_(directory + "/canary"), before_(MakeCanary(path_)) {}

std::string Canary::Harm() const {
  const auto now = Must(support::TreeSnapshot::Take(path_));
  support::CompareRules rules;
  rules.inode_numbers = true;
  std::string harm = support::Diff(before_, now, rules);
  for (const char* path : {"/etc/strata-canary", "/evil", "/etc/evil"}) {
    if (support::Exists(path)) harm += std::string(path) + " was made\n";
  }
  const std::string beside = path_.substr(0, path_.rfind('/')) + "/evil";
  if (support::Exists(beside)) harm += beside + " was made\n";
  return harm;
}

std::string Findings(layerstore::Store& store) {
  std::string text;
  Must(layerstore::CheckStore(
      store, {.depth = layerstore::CheckOptions::Depth::kDeep},
      [&](const layerstore::Finding& finding) { text += finding.ToString() + '\n'; }));
  return text;
}

std::string Leftovers(layerstore::Store& store) {
  std::string text = Findings(store);
  if (!Must(store.images().List()).empty()) text += "an image remained\n";
  for (const char* dir : {"/layers/sha256", "/blobs/sha256", "/trash"}) {
    for (const std::string& name : support::List(store.root() + dir)) {
      text += std::string(dir) + '/' + name + " remained\n";
    }
  }
  for (const std::string& owner : support::List(store.root() + "/tmp")) {
    if (owner.starts_with("lock-")) {
      text += owner + " remained\n";
      continue;
    }
    for (const std::string& name : support::List(store.root() + "/tmp/" + owner)) {
      text += "tmp/" + owner + '/' + name + " remained\n";
    }
  }
  return text;
}

MemoryPeak::MemoryPeak() {
  std::ofstream file("/proc/self/clear_refs");
  if (!(file << "5" << std::flush)) throw std::runtime_error("clear_refs");
  before_ = OwnMemory("VmRSS");
}

std::uint64_t MemoryPeak::Growth() const {
  if (kSanitized) return 0;
  const std::uint64_t peak = OwnMemory("VmHWM");
  return peak > before_ ? peak - before_ : 0;
}

}  // namespace strata::hostile
