// What `strata mount` finds of itself at the next start.
#include "manager/api/image_mounts.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "manager/image/image_service.h"
#include "tests/support/files.h"
#include "tests/support/must.h"
#include "tests/support/sample_image.h"
#include "tests/support/temp_root.h"

namespace strata::manager {
namespace {

using support::Must;

class ImageMountsTest : public ::testing::Test {
 protected:
  ImageMountsTest() {
    support::MakeDir(root_.At("run"));
    store_ = Must(layerstore::Store::Open({.root = data_}));
    support::MakeDir(data_ + "/mounts");
    const auto sample = support::MakeSampleImage(Must(root_.MakeDir("sample")), "one");
    image_ = support::PutImage(*store_, sample, Must(layerstore::Reference::Parse("app:1")));
    service_ = std::make_unique<ImageService>(*store_, ImageServiceOptions());
  }

  std::string Directory(const std::string& id) const { return data_ + "/mounts/" + id; }

  void Use(const std::string& user) { Must(store_->images().AddUser(image_.id, user)); }

  // As a crash leaves it at some point; no `record`: before there was one.
  void AddMount(const std::string& id, const char* record) {
    Use("mount:" + id);
    support::MakeDir(Directory(id), 0700);
    support::MakeDir(Directory(id) + "/upper");
    if (record != nullptr) support::WriteFile(Directory(id) + "/mount.json", record, 0600);
  }

  std::unique_ptr<ImageMounts> Open() {
    return Must(ImageMounts::Open(*store_, *service_, RootFsMounter("/nonexistent"), data_,
                                  root_.At("run")));
  }

  std::vector<std::string> Users() { return Must(store_->images().Users(image_.id)); }

  support::TempRoot root_ = Must(support::TempRoot::Create());
  const std::string data_ = root_.At("data");
  std::unique_ptr<layerstore::Store> store_;
  layerstore::Image image_;
  std::unique_ptr<ImageService> service_;
};

TEST_F(ImageMountsTest, KeepsChangesAndForgetsTheRest) {
  const std::string target = root_.At("nothing is mounted here");
  AddMount("interrupted", nullptr);
  AddMount("read-only", (R"({"version":1,"image":"app:1","target":")" + target + "\"}").c_str());
  AddMount("writable", (R"({"version":1,"image":"app:1","target":")" + target + R"(","upper":")" +
                        Directory("writable") + "/upper\"}")
                           .c_str());
  AddMount("torn", "{\"versi");
  AddMount("empty", "");
  Use("mount:directory removed by hand");
  Use("container:1");

  ::testing::internal::CaptureStderr();
  const auto mounts = Open();
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find(Directory("torn")), std::string::npos) << log;
  EXPECT_NE(log.find(Directory("empty")), std::string::npos) << log;

  EXPECT_EQ(support::List(data_ + "/mounts"),
            (std::vector<std::string>{"empty", "torn", "writable"}));
  EXPECT_TRUE(support::Exists(Directory("torn") + "/upper"));
  EXPECT_EQ(Users(), (std::vector<std::string>{"container:1", "mount:empty", "mount:torn",
                                               "mount:writable"}));
  const auto list = Must(mounts->List());
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].id, "writable");
  EXPECT_EQ(list[0].upper, Directory("writable") + "/upper");
}

TEST_F(ImageMountsTest, AFailedMountLeavesNothing) {
  const auto mounts = Open();
  support::MakeDir(root_.At("target"));
  EXPECT_FALSE(mounts->Mount("app:1", root_.At("target"), true, CopyUp::kWrite));
  EXPECT_TRUE(support::List(data_ + "/mounts").empty());
  EXPECT_TRUE(Users().empty());
}

}  // namespace
}  // namespace strata::manager
