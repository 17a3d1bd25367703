#include "tests/fuzz/scratch.h"

#include <fcntl.h>

#include "tests/support/files.h"
#include "tests/support/must.h"

namespace strata::fuzz {

Scratch::Scratch() : root_(support::Must(support::TempRoot::CreateInMemory())) {}

Scratch& Scratch::Get() {
  static Scratch scratch;
  return scratch;
}

UniqueFd Scratch::FreshDirectory(const char* name) {
  const std::string path = root_.At(name);
  support::Must(support::RemoveTree(path));
  support::MakeDir(path, 0700);
  return support::OpenFile(path, O_RDONLY | O_DIRECTORY);
}

void Scratch::WriteFile(const char* name, std::string_view bytes) {
  support::WriteFile(root_.At(name), bytes, 0600);
}

}  // namespace strata::fuzz
