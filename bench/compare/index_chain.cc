// index_chain DIR LAYER...: writes the index of the chain of these layers (top first) into DIR, for
// `stratafs -o chain=DIR`. Prints how long that took.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "tests/support/chain_index.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: index_chain DIR LAYER...\n";
    return EXIT_FAILURE;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto written =
      strata::support::WriteChainIndex(std::vector<std::string>(argv + 2, argv + argc), argv[1]);
  if (!written) {
    std::cerr << "index_chain: " << written.error().ToString() << '\n';
    return EXIT_FAILURE;
  }
  const auto took = std::chrono::steady_clock::now() - start;
  std::cout << std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms\n";
  return EXIT_SUCCESS;
}
