// A store in a scratch directory, and shorthands for what tests do with it.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/file_ops.h"
#include "layerstore/store/store.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::layerstore {

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : temp_(support::Must(support::TempRoot::Create())), root_(temp_.At("store")) {
    Reopen();
  }

  void Reopen(FileOps* ops = nullptr) {
    store_.reset();
    store_ = support::Must(Store::Open({.root = root_, .ops = ops}));
  }

  // Unpacks a stream as a layer.
  Result<LayerInfo> PutLayer(const std::string& stream, LayerIngest ingest = {}) {
    auto lease = store_->NewLease();
    if (!lease) return std::unexpected(std::move(lease).error());
    return PutLayer(stream, std::move(ingest), *lease);
  }

  Result<LayerInfo> PutLayer(const std::string& stream, LayerIngest ingest, Lease& lease) {
    auto sink = store_->layers().Begin(std::move(ingest), lease);
    if (!sink) return std::unexpected(std::move(sink).error());
    if (!*sink) return Fail(EALREADY, "layer");
    if (auto written = (*sink)->Write(stream); !written) {
      return std::unexpected(std::move(written).error());
    }
    return (*sink)->Commit();
  }

  // An image of these layers.
  static NewImage MakeImage(const std::vector<Digest>& diff_ids, const char* label = "") {
    ImageConfig config;
    config.platform = HostPlatform();
    config.author = label;
    config.diff_ids = diff_ids;
    Manifest manifest;
    manifest.media_type = "application/vnd.oci.image.manifest.v1+json";
    manifest.config.digest = Digest::Of(config.ToJson());
    manifest.config.size = config.ToJson().size();
    manifest.layers.resize(diff_ids.size());
    return {config.ToJson(), manifest.ToJson(), manifest.media_type, {}};
  }

  // The same put into the store, where the layers must be.
  Image PutImage(const std::vector<Digest>& diff_ids, const char* name, const char* label = "") {
    NewImage image = MakeImage(diff_ids, label);
    if (name != nullptr) {
      image.names.push_back(support::Must(Reference::Parse(name)).WithDefaultTag());
    }
    return support::Must(store_->images().Put(image));
  }

  // Nothing staged, nothing in the trash, no lock files: only this process's staging directory.
  void ExpectNoLeftovers() {
    EXPECT_EQ(Names(root_ + "/tmp").size(), 1U);
    for (const auto& name : Names(root_ + "/tmp")) {
      EXPECT_TRUE(Names(root_ + "/tmp/" + name).empty()) << *Names(root_ + "/tmp/" + name).begin();
    }
    EXPECT_TRUE(Names(root_ + "/trash").empty());
  }

  static std::set<std::string> Names(const std::string& dir) {
    auto& ops = FileOps::System();
    const UniqueFd fd = support::Must(ops.Open(AT_FDCWD, dir.c_str(), O_RDONLY | O_DIRECTORY));
    std::set<std::string> names;
    support::Must(ops.ReadDir(fd.get(), [&](std::string_view name, ino_t, unsigned char) {
      names.emplace(name);
      return true;
    }));
    return names;
  }

  static std::string ReadFile(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return "cannot open " + path;
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  static void WriteFile(const std::string& path, std::string_view content) {
    std::ofstream file(path, std::ios::binary);
    file << content;
    file.flush();
    if (!file) throw std::runtime_error("write " + path);
  }

  static struct stat Lstat(const std::string& path) {
    struct stat st = {};
    support::MustCall(::lstat(path.c_str(), &st), path.c_str());
    return st;
  }

  support::TempRoot temp_;
  std::string root_;
  std::unique_ptr<Store> store_;
};

// EXPECT_ERROR(result, EBADMSG, "part of the message")
inline ::testing::AssertionResult IsError(const Error* error, int code, const std::string& part) {
  if (error == nullptr) return ::testing::AssertionFailure() << "succeeded";
  if (error->code() != code || error->ToString().find(part) == std::string::npos) {
    return ::testing::AssertionFailure() << error->code() << ": " << error->ToString();
  }
  return ::testing::AssertionSuccess();
}

template <class T>
::testing::AssertionResult FailsWith(const Result<T>& result, int code,
                                     const std::string& part = "") {
  return IsError(result ? nullptr : &result.error(), code, part);
}

template <class T>
::testing::AssertionResult Succeeds(const Result<T>& result) {
  if (result) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << result.error().ToString();
}

}  // namespace strata::layerstore
