// A request gets exactly one reply, whatever the code that serves it does.
#include "fusefs/frontend/request.h"

#include <fuse3/fuse_lowlevel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "fusefs/transport/wire.h"
#include "tests/unit/fusefs/fake_kernel.h"

namespace strata::fusefs {
namespace {

// A libfuse session whose GETATTR handler is the test's.
class RequestTest : public ::testing::Test {
 protected:
  using Handler = std::function<void(Request&)>;

  void SetUp() override {
    fuse_lowlevel_ops ops{};
    ops.getattr = [](fuse_req_t raw, fuse_ino_t, fuse_file_info*) {
      Request request(raw, "getattr");
      static_cast<RequestTest*>(fuse_req_userdata(raw))->handler_(request);
    };
    char program[] = "request_test";
    char* arguments[] = {program, nullptr};
    fuse_args args = FUSE_ARGS_INIT(1, arguments);
    session_ = fuse_session_new(&args, &ops, sizeof ops, this);
    fuse_opt_free_args(&args);
    ASSERT_NE(session_, nullptr);
    fuse_custom_io hooks{};
    hooks.read = [](int, void*, std::size_t, void*) -> ssize_t { return -1; };
    hooks.writev = [](int, iovec* vectors, int count, void* self) {
      auto& kernel = static_cast<RequestTest*>(self)->kernel_;
      return kernel.Send({vectors, static_cast<std::size_t>(count)});
    };
    ASSERT_EQ(fuse_session_custom_io(session_, &hooks, ::dup(kernel_.device())), 0);
    ASSERT_TRUE(kernel_.Start(sink_).has_value());
    ASSERT_EQ(kernel_.Init(0).Errno(), 0);
  }
  void TearDown() override { fuse_session_destroy(session_); }

  testing::Reply ServedBy(Handler handler) {
    handler_ = std::move(handler);
    return kernel_.Ask(FUSE_GETATTR, 1, testing::FakeKernel::Bytes(fuse_getattr_in{}));
  }

 private:
  class Sink final : public RequestSink {
   public:
    explicit Sink(fuse_session*& session) : session_(session) {}
    void Process(std::span<std::byte> request,
                 std::span<std::byte> /*reply_space*/) noexcept override {
      fuse_buf buffer{};
      buffer.size = request.size();
      buffer.mem = request.data();
      fuse_session_process_buf(session_, &buffer);
    }

   private:
    fuse_session*& session_;
  };

  testing::FakeKernel kernel_;
  fuse_session* session_ = nullptr;
  Sink sink_{session_};
  Handler handler_;
};

TEST_F(RequestTest, ForgottenReplyIsEio) {
  EXPECT_EQ(ServedBy([](Request&) {}).Errno(), EIO);
}

TEST_F(RequestTest, ReplyIsSentOnce) {
  const auto reply = ServedBy([](Request& request) {
    request.Fail(Error(ENOENT));
    EXPECT_EQ(request.raw(), nullptr);
  });
  EXPECT_EQ(reply.Errno(), ENOENT);
}

TEST_F(RequestTest, CallerIsWhoTheKernelNames) {
  Caller caller;
  ServedBy([&](Request& request) {
    caller = request.caller();
    request.Done();
  });
  EXPECT_EQ(caller.uid, 1000U);
  EXPECT_EQ(caller.gid, 1001U);
  EXPECT_EQ(caller.pid, 77);
}

}  // namespace
}  // namespace strata::fusefs
