// One of the processes that work in one tree at once, each on names of its own in directories that
// all share, so that every call must succeed and the outcome is known; and all on a few shared
// names, where only what must hold whoever wins is known.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace strata::conformance {

inline constexpr int kSharedDirs = 6;     // "d0" ...
inline constexpr int kSharedFiles = 4;    // "shared0" ..., appended to by all, in lower layers
inline constexpr int kSharedTickets = 4;  // "ticket0" ..., made by whoever comes first
inline constexpr std::size_t kRecordSize = 16;

// What a worker appends to a shared file for the n-th time; kRecordSize bytes.
std::string Record(int worker, long n);

// A file or symbolic link of the model. Names that share one are hard links.
struct ModelFile {
  std::string content;  // or the target
  mode_t mode = 0644;
  bool symlink = false;
  std::string xattr;  // user.stress; empty if there is none
};

struct Model {
  std::map<std::string, std::shared_ptr<ModelFile>> files;  // by path
  std::set<std::string> directories;

  // One line a path with all that is known of it.
  std::map<std::string, std::string> Lines() const;
};

// The same lines of what is really below `root`, without shared names.
std::map<std::string, std::string> LinesOf(const std::string& root);

// What lower layers hold of a worker's: some files, directories with files, hard links.
Model InitialModel(int worker);
// Makes that below `root`, whose shared directories are there.
void WriteModel(const Model& model, const std::string& root);

// What a worker knows at its end.
struct Journal {
  Model model;
  std::vector<long> appended = std::vector<long>(kSharedFiles);  // records, to each
  long steps = 0;
  std::string failure;  // the first thing that went wrong
};

// Works in `root` until `deadline`, or until something goes wrong.
Journal Work(const std::string& root, int worker, std::uint64_t seed,
             std::chrono::steady_clock::time_point deadline);

}  // namespace strata::conformance
