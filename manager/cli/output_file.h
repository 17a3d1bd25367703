// A file that is there whole or not at all, for the results of save and export.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager::cli {

// Without a name until Commit(), where the filesystem can do that, so that nothing of it outlives
// this process however it ends; elsewhere removed by the destructor. Not thread-safe.
class OutputFile {
 public:
  // ENOENT: no such directory; EISDIR; EINVAL for something there that is no file, which a file
  // must not take the place of.
  static Result<OutputFile> Create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  // Errors name the file.
  Result<> Write(std::string_view data);
  // Durable, under its name, in the place of what had that.
  Result<> Commit();

 private:
  OutputFile(std::string path, UniqueFd dir, std::string name)
      : path_(std::move(path)), dir_(std::move(dir)), name_(std::move(name)) {}
  Result<> Open();
  Result<> GiveName();
  std::string TemporaryName() const;

  std::string path_;
  UniqueFd dir_;
  std::string name_;
  UniqueFd file_;
  std::string temporary_;  // in dir_; empty if there is none
};

}  // namespace strata::manager::cli
