// What the tests of the unpacker share: layers by TarBuilder, into a store.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/support/must.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {

class UnpackerTest : public StoreTest {
 protected:
  // Unpacks and returns the directory; the test fails if that fails.
  std::string Unpacked(const support::TarBuilder& tar, const UnpackLimits& limits = {}) {
    LayerIngest ingest;
    ingest.limits = limits;
    return support::Must(PutLayer(tar.Finish(), std::move(ingest))).path;
  }

  // How many names a file has in its layer. As an object it has one more.
  static nlink_t LinksInLayer(const std::string& path) { return Lstat(path).st_nlink - 1; }

  void ExpectRefused(const support::TarBuilder& tar, int code, const std::string& message,
                     const UnpackLimits& limits = {}) {
    LayerIngest ingest;
    ingest.limits = limits;
    EXPECT_TRUE(FailsWith(PutLayer(tar.Finish(), std::move(ingest)), code, message)) << message;
    EXPECT_TRUE(Names(root_ + "/layers/sha256").empty());
    EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
    ExpectNoLeftovers();
  }
};

}  // namespace strata::layerstore
