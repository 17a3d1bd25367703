// A directory in memory for a target that needs files. One a process.
#pragma once

#include <string>
#include <string_view>

#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "tests/support/temp_root.h"

namespace strata::fuzz {

// All functions throw when they fail, which ends the process.
class Scratch {
 public:
  static Scratch& Get();

  const std::string& path() const { return root_.path(); }
  // An empty directory `name`, whatever was there before; for reading.
  UniqueFd FreshDirectory(const char* name);
  void WriteFile(const char* name, std::string_view bytes);

 private:
  Scratch();
  support::TempRoot root_;
};

}  // namespace strata::fuzz
