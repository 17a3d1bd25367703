// stratad(8).
#include <cstdio>
#include <exception>

#include "manager/daemon/daemon.h"

int main(int argc, char** argv) {
  namespace log = strata::log;
  namespace manager = strata::manager;
  try {
    const auto options =
        manager::ParseDaemonOptions(std::vector<std::string>(argv + 1, argv + argc));
    if (!options) {
      std::fprintf(stderr, "stratad: %s\n", std::string(options.error().detail()).c_str());
      return 2;
    }
    if (options->help) {
      std::fputs(manager::DaemonHelp(), stdout);
      return 0;
    }
    if (options->version) {
      std::printf("stratad version %s\n", manager::DaemonVersion());
      return 0;
    }
    log::Configure("stratad", options->log_level, options->log_format);
    const auto done = manager::RunDaemon(*options);
    if (done) return 0;
    std::fprintf(stderr, "stratad: %s\n", done.error().ToString().c_str());
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "stratad: %s\n", exception.what());
  }
  return 1;
}
