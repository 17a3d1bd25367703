// The transport over io_uring, on a real mount with a filesystem of a few files that answers in the
// protocol itself: slowly, late, from another thread, with a lot of data.
#include "fusefs/transport/uring_transport.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "fusefs/transport/init_reply.h"
#include "fusefs/transport/mount.h"
#include "fusefs/transport/uring_entry.h"
#include "fusefs/transport/uring_support.h"
#include "fusefs/transport/wire.h"
#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/support/uring_setting.h"

namespace strata::fusefs {
namespace {

using namespace std::chrono_literals;
using support::Must;

constexpr std::uint64_t kFileNode = 2;
constexpr std::size_t kFileSize = 3 * wire::kMaxWrite + 12345;

std::byte ContentAt(std::size_t offset) {
  return static_cast<std::byte>(offset * 7 + offset / wire::kMaxWrite);
}

// Answers by hand. There are two large files, "file" and "piped", and no xattrs; one with "slow" in
// its name occupies its thread until Release(), one with "late" is answered by AnswerLate() only.
class RawServer final : public RequestSink {
 public:
  explicit RawServer(bool agree_to_uring) : agree_to_uring_(agree_to_uring) {}
  void set_transport(Transport& transport) { transport_ = &transport; }

  void Process(std::span<std::byte> request, std::span<std::byte> reply_space) noexcept override {
    fuse_in_header in{};
    std::memcpy(&in, request.data(), sizeof in);
    const auto body = request.subspan(sizeof in);
    switch (in.opcode) {
      case FUSE_INIT:
        return Init(in, request);
      case FUSE_LOOKUP:
        return Lookup(in, reinterpret_cast<const char*>(body.data()), !reply_space.empty());
      case FUSE_GETATTR: {
        fuse_attr_out out{};
        out.attr = AttrOf(in.nodeid);
        return Reply(in.unique, 0, &out, sizeof out);
      }
      case FUSE_GETXATTR:
        return GetXattr(in, reinterpret_cast<const char*>(body.data()) + sizeof(fuse_getxattr_in));
      case FUSE_OPEN: {
        fuse_open_out out{};
        return Reply(in.unique, 0, &out, sizeof out);
      }
      case FUSE_READ:
        return Read(in, body, reply_space);
      case FUSE_INTERRUPT:
        return Interrupted(in, body);
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
        return;
      default:
        return Reply(in.unique, -ENOSYS);
    }
  }

  void Reply(std::uint64_t unique, int error, const void* body = nullptr, std::size_t size = 0) {
    fuse_out_header out{
        .len = static_cast<std::uint32_t>(sizeof out + size), .error = error, .unique = unique};
    const iovec parts[] = {{&out, sizeof out}, {const_cast<void*>(body), size}};
    transport_->Send(std::span(parts, size == 0 ? 1 : 2));
  }

  // From now on nothing is slow or late.
  void Close() {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    Release();
    AnswerLate(-EIO);
  }
  void Release() {
    MutexLock lock(mutex_);
    released_ = true;
    changed_.NotifyAll();
  }
  bool WaitSlow(int count) {
    MutexLock lock(mutex_);
    return changed_.WaitFor(mutex_, 10s, [&] { return slow_ >= count; });
  }
  bool WaitLate(std::size_t count) {
    MutexLock lock(mutex_);
    return changed_.WaitFor(mutex_, 10s, [&] { return late_.size() >= count; });
  }
  bool WaitInterrupts(int count) {
    MutexLock lock(mutex_);
    return changed_.WaitFor(mutex_, 10s, [&] { return interrupts_ >= count; });
  }
  void AnswerLate(int error) {
    std::vector<std::uint64_t> late;
    {
      MutexLock lock(mutex_);
      late.swap(late_);
    }
    for (const std::uint64_t unique : late) Reply(unique, error);
  }
  // How many INTERRUPT requests are to be answered with "try again".
  void PostponeInterrupts(int count) {
    MutexLock lock(mutex_);
    postpone_ = count;
  }
  bool over_the_ring() {
    MutexLock lock(mutex_);
    return over_the_ring_;
  }

 private:
  static fuse_attr AttrOf(std::uint64_t node) {
    fuse_attr attr{};
    attr.ino = node;
    attr.mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644;
    attr.nlink = 1;
    attr.size = node == 1 ? 0 : kFileSize;
    return attr;
  }

  void Init(const fuse_in_header& in, std::span<std::byte> request) {
    const auto offer = ParseInitRequest(request);
    std::byte out[wire::kInitOutSize] = {};
    fuse_init_out body{};
    body.major = FUSE_KERNEL_VERSION;
    body.minor = FUSE_KERNEL_MINOR_VERSION;
    body.max_readahead = wire::kMaxWrite;
    body.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES;
    body.max_write = wire::kMaxWrite;
    body.max_pages = wire::kMaxWrite / 4096;
    std::memcpy(out, &body, sizeof body);
    const InitWishes wishes{.passthrough = false,
                            .over_uring = agree_to_uring_ && transport_->wants_uring()};
    const auto outcome = CompleteInitReply(*offer, wishes, out);
    Reply(in.unique, 0, out, sizeof out);
    const auto done = transport_->HandshakeDone(outcome->over_uring);
    EXPECT_TRUE(done.has_value());
  }

  void GetXattr(const fuse_in_header& in, const std::string& name) {
    {
      MutexLock lock(mutex_);
      if (name.find("slow") != std::string::npos) {
        ++slow_;
        changed_.NotifyAll();
        changed_.Wait(mutex_, [this] { return released_; });
      }
      if (name.find("late") != std::string::npos && !closed_) {
        late_.push_back(in.unique);
        changed_.NotifyAll();
        return;
      }
    }
    Reply(in.unique, -ENODATA);
  }

  void Lookup(const fuse_in_header& in, const std::string& name, bool over_the_ring) {
    {
      MutexLock lock(mutex_);
      over_the_ring_ = over_the_ring;
    }
    if (name == "huge") {
      const std::vector<std::byte> too_much(wire::kMaxWrite + 1);
      return Reply(in.unique, 0, too_much.data(), too_much.size());
    }
    if (name != "file" && name != "piped") return Reply(in.unique, -ENOENT);
    fuse_entry_out out{};
    out.nodeid = name == "file" ? kFileNode : kFileNode + 1;
    out.attr = AttrOf(out.nodeid);
    Reply(in.unique, 0, &out, sizeof out);
  }

  void Read(const fuse_in_header& in, std::span<std::byte> body, std::span<std::byte> space) {
    fuse_read_in read{};
    std::memcpy(&read, body.data(), sizeof read);
    const std::size_t start = std::min<std::size_t>(read.offset, kFileSize);
    const std::size_t size = std::min<std::size_t>(read.size, kFileSize - start);
    if (in.nodeid == kFileNode) {
      ASSERT_GE(space.size(), size);
      for (std::size_t i = 0; i < size; ++i) space[i] = ContentAt(start + i);
      return Reply(in.unique, 0, space.data(), size);
    }
    std::vector<std::byte> message(sizeof(fuse_out_header) + size);
    const fuse_out_header out{
        .len = static_cast<std::uint32_t>(message.size()), .error = 0, .unique = in.unique};
    std::memcpy(message.data(), &out, sizeof out);
    for (std::size_t i = 0; i < size; ++i) message[sizeof out + i] = ContentAt(start + i);
    int pipe[2];
    ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    const UniqueFd from(pipe[0]);
    UniqueFd to(pipe[1]);
    std::thread writer([&] {
      EXPECT_EQ(::write(to.get(), message.data(), message.size()),
                static_cast<ssize_t>(message.size()));
    });
    EXPECT_EQ(transport_->SendFromPipe(from.get(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
    writer.join();
  }

  void Interrupted(const fuse_in_header& in, std::span<std::byte> body) {
    fuse_interrupt_in interrupt{};
    std::memcpy(&interrupt, body.data(), sizeof interrupt);
    bool known = false;
    {
      MutexLock lock(mutex_);
      ++interrupts_;
      changed_.NotifyAll();
      known = postpone_-- <= 0 && std::erase(late_, interrupt.unique) != 0;
    }
    if (known) {
      Reply(interrupt.unique, -EINTR);
    } else {
      Reply(in.unique, -EAGAIN);
    }
  }

  const bool agree_to_uring_;
  Transport* transport_ = nullptr;
  Mutex mutex_;
  CondVar changed_;
  bool over_the_ring_ = false;
  bool released_ = false;
  bool closed_ = false;
  int slow_ = 0;
  int interrupts_ = 0;
  int postpone_ = 0;
  std::vector<std::uint64_t> late_;
};

class UringTransportTest : public ::testing::TestWithParam<std::chrono::microseconds> {
 protected:
  void SetUp() override {
    if (!support::KernelHasUring()) GTEST_SKIP() << support::kNoUring;
    setting_.emplace(Must(support::UringSetting::Hold()));
    root_.emplace(Must(support::TempRoot::Create()));
    Start(true);
  }

  void Start(bool agree_to_uring) {
    server_ = std::make_unique<RawServer>(agree_to_uring);
    MountOptions options;
    options.mountpoint = root_->path();
    mount_.emplace(Must(Mount::Create(options)));
    transport_ =
        Must(UringTransport::Create(mount_->TakeDevice(), {.threads = 2, .spin = GetParam()}));
    server_->set_transport(*transport_);
    Must(transport_->Start(*server_));
  }

  void TearDown() override {
    if (!mount_) return;
    server_->Close();
    for (auto& user : users_) user.join();
    EXPECT_TRUE(mount_->Remove().has_value());
    transport_->Stop();
  }

  // errno of a look-up; 0 if the name is there.
  int Lookup(const std::string& name) {
    struct stat info;
    return ::stat(root_->At(name).c_str(), &info) == 0 ? 0 : errno;
  }
  // errno of reading an xattr of the file.
  int GetXattr(const std::string& name) {
    const std::string file = root_->At("file");
    return ::getxattr(file.c_str(), ("user." + name).c_str(), nullptr, 0) >= 0 ? 0 : errno;
  }
  // The same from a thread of its own on the first processor; its answer is counted.
  void GetXattrElsewhere(const std::string& name) {
    users_.emplace_back([this, name] {
      PinToFirst();
      const int answer = GetXattr(name);
      MutexLock lock(mutex_);
      ++answers_[answer];
    });
  }
  static void PinToFirst() {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    EXPECT_EQ(::sched_setaffinity(0, sizeof first, &first), 0);
  }
  int Answers(int error) {
    for (auto& user : users_) user.join();
    users_.clear();
    MutexLock lock(mutex_);
    return answers_[error];
  }
  std::vector<std::byte> Contents(const std::string& name) {
    const UniqueFd file(::open(root_->At(name).c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(file);
    std::vector<std::byte> contents(kFileSize + 1);
    std::size_t size = 0;
    ssize_t got = 0;
    while ((got = ::read(file.get(), contents.data() + size, contents.size() - size)) > 0) {
      size += static_cast<std::size_t>(got);
    }
    contents.resize(size);
    return contents;
  }

  std::optional<support::UringSetting> setting_;
  std::optional<support::TempRoot> root_;
  std::unique_ptr<RawServer> server_;
  std::optional<Mount> mount_;
  std::unique_ptr<UringTransport> transport_;
  std::vector<std::thread> users_;
  Mutex mutex_;
  std::map<int, int> answers_;
};

TEST_P(UringTransportTest, ServesOneAfterTheOtherOverTheRing) {
  for (int i = 0; i < 200; ++i) ASSERT_EQ(Lookup("none" + std::to_string(i)), ENOENT);
  EXPECT_TRUE(server_->over_the_ring());
}

TEST_P(UringTransportTest, ServesManyAtOnce) {
  std::vector<std::thread> users;
  for (int user = 0; user < 8; ++user) {
    users.emplace_back([this, user] {
      for (int i = 0; i < 200; ++i) {
        ASSERT_EQ(Lookup("none" + std::to_string(user) + "-" + std::to_string(i)), ENOENT);
      }
    });
  }
  for (auto& user : users) user.join();
}

TEST_P(UringTransportTest, LargeRepliesArriveWhole) {
  std::vector<std::byte> expected(kFileSize);
  for (std::size_t i = 0; i < kFileSize; ++i) expected[i] = ContentAt(i);
  EXPECT_TRUE(Contents("file") == expected) << "made in place";
  EXPECT_TRUE(Contents("piped") == expected) << "from a pipe";
}

TEST_P(UringTransportTest, AReplyThatDoesNotFitIsAnError) {
  EXPECT_EQ(Lookup("huge"), EIO);
  EXPECT_EQ(Lookup("none"), ENOENT);
}

TEST_P(UringTransportTest, ASlowRequestLeavesTheOthersServed) {
  GetXattrElsewhere("slow");
  ASSERT_TRUE(server_->WaitSlow(1));
  PinToFirst();
  for (int i = 0; i < 50; ++i) ASSERT_EQ(Lookup("none" + std::to_string(i)), ENOENT);
}

TEST_P(UringTransportTest, AnyNumberOfRequestsMayWaitForTheirAnswer) {
  constexpr int kWaiting = 40;
  for (int i = 0; i < kWaiting; ++i) GetXattrElsewhere("late" + std::to_string(i));
  ASSERT_TRUE(server_->WaitLate(kWaiting));
  GetXattrElsewhere("slow");  // of two threads that may be busy, this leaves one
  ASSERT_TRUE(server_->WaitSlow(1));
  PinToFirst();
  for (int i = 0; i < 50; ++i) ASSERT_EQ(Lookup("none" + std::to_string(i)), ENOENT);
  server_->Release();
  server_->AnswerLate(-ERANGE);
  EXPECT_EQ(Answers(ERANGE), kWaiting);
}

TEST_P(UringTransportTest, AnInterruptThatComesBeforeItsRequestIsNotLost) {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
  GetXattrElsewhere("slow-late");  // does not wait for its answer yet when the signal comes
  ASSERT_TRUE(server_->WaitSlow(1));
  ASSERT_EQ(::pthread_kill(users_.front().native_handle(), SIGUSR1), 0);
  ASSERT_TRUE(server_->WaitInterrupts(1));
  server_->Release();
  EXPECT_TRUE(server_->WaitInterrupts(2)) << "once more, from the transport";
  EXPECT_EQ(Answers(EINTR), 1);
}

TEST_P(UringTransportTest, AnInterruptThatIsRefusedIsTriedAgain) {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
  GetXattrElsewhere("late");
  ASSERT_TRUE(server_->WaitLate(1));
  server_->PostponeInterrupts(1);  // as libfuse does when another request comes in between
  ASSERT_EQ(::pthread_kill(users_.front().native_handle(), SIGUSR1), 0);
  EXPECT_TRUE(server_->WaitInterrupts(2));
  EXPECT_EQ(Answers(EINTR), 1);
}

TEST_P(UringTransportTest, StopsWhileRequestsWait) {
  GetXattrElsewhere("late");
  ASSERT_TRUE(server_->WaitLate(1));
  ASSERT_EQ(::umount2(root_->path().c_str(), MNT_DETACH), 0);
  transport_->Stop();
  transport_->Stop();
  server_->AnswerLate(0);  // to nobody
  mount_.reset();
  transport_.reset();  // closes the device, which ends what still waits
  EXPECT_EQ(Answers(ECONNABORTED) + answers_[ENOTCONN], 1);
}

TEST_P(UringTransportTest, ServesOverTheDeviceIfNotAgreed) {
  EXPECT_EQ(Lookup("none"), ENOENT);
  ASSERT_TRUE(mount_->Remove().has_value());
  transport_->Stop();
  Start(false);
  EXPECT_EQ(Lookup("none"), ENOENT);
  EXPECT_FALSE(server_->over_the_ring());
}

INSTANTIATE_TEST_SUITE_P(Spin, UringTransportTest, ::testing::Values(0us, 100us),
                         [](const auto& parameter) {
                           return std::to_string(parameter.param.count()) + "us";
                         });

TEST(UringEntryTest, RequestsThatMakeNoSenseAreRefused) {
  const auto entry = Must(UringEntry::Create());
  auto* header = static_cast<wire::UringEntryHeader*>(entry->vectors()[0].iov_base);
  EXPECT_FALSE(entry->Begin().has_value()) << "shorter than its header";
  const auto set = [&](std::size_t length, std::size_t data) {
    fuse_in_header in{};
    in.len = static_cast<std::uint32_t>(length);
    in.opcode = FUSE_LOOKUP;
    in.unique = 8;
    std::memcpy(header->in_out, &in, sizeof in);
    header->payload_size = static_cast<std::uint32_t>(data);
  };
  set(sizeof(fuse_in_header) + 5, 6);
  EXPECT_FALSE(entry->Begin().has_value()) << "more data than request";
  set(sizeof(fuse_in_header) + 200, 0);
  EXPECT_FALSE(entry->Begin().has_value()) << "fixed part larger than its place";
  set(sizeof(fuse_in_header) + wire::kMaxWrite + 1, wire::kMaxWrite + 1);
  EXPECT_FALSE(entry->Begin().has_value()) << "data larger than its place";
  set(sizeof(fuse_in_header) + 16 + 3, 3);
  std::memcpy(header->op_in, "fixed part here!", 16);
  std::memcpy(entry->payload().data(), "ab", 3);
  const auto request = entry->Begin();
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(request->data()) + sizeof(fuse_in_header)),
            "fixed part here!ab");
  EXPECT_EQ(entry->unique(), 8U);
  EXPECT_FALSE(entry->answered());
}

TEST(CountCpusTest, TakesTheKernelsLists) {
  EXPECT_EQ(Must(CountCpus("0")), 1U);
  EXPECT_EQ(Must(CountCpus("0-3")), 4U);
  EXPECT_EQ(Must(CountCpus("0-3,8,10-11")), 7U);
  for (const char* bad : {"", "a", "3-1", "0-", "0,", "0 1"}) {
    EXPECT_FALSE(CountCpus(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace strata::fusefs
