// Runs sequences on a real mount: many in one, each in a directory of its own in every layer, since
// mounting costs more than a sequence does.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "tests/property/sequence.h"
#include "tests/property/watchdog.h"
#include "tests/support/union_mount.h"

namespace strata::property {

struct RunnerOptions {
  support::Mounter mounter = support::Mounter::kStratafs;
  std::string copy_up;
  std::string passthrough;
  std::vector<std::string> mount_options;
  // Mounts the layers through an index; then once more one by one, which must show the same.
  bool chain = false;
  // Puts the diff of the upper layer that the sequences left on top of the lower ones: it must show
  // the same tree.
  bool diff = false;
  // Mounted one after the other on the layers and the upper that the sequences left: each must show
  // the same tree. The mounter that ran the sequences must show the same st_ino, too.
  std::vector<support::Mounter> remounts;
};

struct Failure {
  std::size_t sequence = 0;
  // The operation that differed; the number of operations for what shows at the end only.
  std::size_t operation = 0;
  std::string text;
};

class Runner {
 public:
  // `directory`: where to make the layers; any filesystem that takes trusted xattrs and has birth
  // times.
  Runner(std::string directory, RunnerOptions options, Watchdog& watchdog)
      : directory_(std::move(directory)), options_(std::move(options)), watchdog_(watchdog) {}

  // What went wrong, by sequence; each sequence at most once. An error is the harness's own, or a
  // mount that cannot be made.
  Result<std::vector<Failure>> Run(const std::vector<Sequence>& sequences);

  const RunnerOptions& options() const { return options_; }

 private:
  const std::string directory_;
  const RunnerOptions options_;
  Watchdog& watchdog_;
  int groups_ = 0;
};

}  // namespace strata::property
