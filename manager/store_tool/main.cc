// strata-store(8).
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "manager/store_tool/store_tool.h"

int main(int argc, char** argv) {
  namespace manager = strata::manager;
  int status = manager::kStoreUsage;
  try {
    status = manager::RunStoreTool(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "strata-store: %s\n", exception.what());
  }
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  std::perror("strata-store: write to standard output");
  return status == manager::kStoreClean ? manager::kStoreDamaged : status;
}
