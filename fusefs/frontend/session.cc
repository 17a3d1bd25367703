#include "fusefs/frontend/session.h"

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/logging.h"
#include "base/privileges.h"
#include "base/try.h"
#include "fusefs/frontend/operations.h"
#include "fusefs/frontend/raw_operations.h"
#include "fusefs/frontend/raw_request.h"
#include "fusefs/transport/passthrough.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

// Requests the kernel may have in the air on its own account (readahead, direct I/O).
constexpr unsigned kMaxBackground = 64;

log::Level LevelOf(fuse_log_level level) {
  if (level <= FUSE_LOG_ERR) return log::Level::kError;
  if (level <= FUSE_LOG_WARNING) return log::Level::kWarn;
  return log::Level::kDebug;
}

__attribute__((format(printf, 2, 0))) void LogFromLibrary(fuse_log_level level, const char* format,
                                                          va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  line[std::strcspn(line, "\n")] = '\0';
  log::Write(LevelOf(level), line, {});
}

}  // namespace

// libfuse hands its hooks and callbacks one pointer. operations_table.cc takes it for an
// Operations, the hooks below find the session from there.
struct Session::UserData : Operations {
  UserData(Engine& engine, Session& owner) : Operations(engine), session(owner) {}

  static UserData& From(void* userdata) {
    return *static_cast<UserData*>(static_cast<Operations*>(userdata));
  }
  void* Pointer() { return static_cast<Operations*>(this); }

  Session& session;
};

struct Session::Hooks {
  static void Init(void* userdata, fuse_conn_info* connection) {
    UserData& data = UserData::From(userdata);
    const SessionOptions& options = data.session.options_;
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS |
                    FUSE_CAP_READDIRPLUS | FUSE_CAP_IOCTL_DIR | FUSE_CAP_DONT_MASK |
                    FUSE_CAP_ASYNC_DIO | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;
    if (options.acl) want |= FUSE_CAP_POSIX_ACL;
    constexpr unsigned kLocks = FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
    const bool locks = options.locks && (connection->capable & kLocks) == kLocks;
    if (locks) want |= kLocks;
    data.set_keep_locks(locks);
    // With the writeback cache a truncation within OPEN races with pages that are still to be
    // written: the file comes out longer than it is shown. A SETATTR of its own does not.
    if (options.writeback) want |= FUSE_CAP_WRITEBACK_CACHE;
    if (!options.writeback && options.opens) want |= FUSE_CAP_ATOMIC_O_TRUNC;
    connection->want = want & connection->capable;
    connection->max_write = static_cast<unsigned>(wire::kMaxWrite);
    connection->max_background = kMaxBackground;
    data.set_skip_open(!options.opens && (connection->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0);
    data.set_skip_seek(options.writeback);
    data.set_skip_opendir((connection->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0);
  }

  static ssize_t Read(int /*fd*/, void* /*buffer*/, std::size_t /*size*/, void* /*userdata*/) {
    // The transport reads; libfuse only insists on having the hook.
    errno = ENOTSUP;
    return -1;
  }

  static ssize_t WriteV(int /*fd*/, iovec* vectors, int count, void* userdata) {
    return UserData::From(userdata).session.Send({vectors, static_cast<std::size_t>(count)});
  }

  static ssize_t SpliceSend(int pipe, off_t* /*pipe_offset*/, int /*fd*/, off_t* /*offset*/,
                            std::size_t length, unsigned flags, void* userdata) {
    return UserData::From(userdata).session.transport_.SendFromPipe(pipe, length, flags);
  }
};

Session::Session(Engine& engine, Transport& transport, SessionOptions options)
    : engine_(engine),
      transport_(transport),
      options_(std::move(options)),
      user_data_(std::make_unique<UserData>(engine, *this)),
      backing_(transport) {}

Session::~Session() {
  user_data_->EndWaits();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Result<std::unique_ptr<Session>> Session::Create(Engine& engine, Transport& transport,
                                                 SessionOptions options) {
  std::unique_ptr<Session> session(new Session(engine, transport, std::move(options)));
  STRATA_TRY(session->SetUp());
  return session;
}

Result<> Session::SetUp() {
  fuse_set_log_func(&LogFromLibrary);
  fuse_lowlevel_ops ops = OperationsTable();
  ops.init = &Hooks::Init;
  char program[] = "stratafs";
  char* arguments[] = {program, nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments);
  session_ = fuse_session_new(&args, &ops, sizeof ops, user_data_->Pointer());
  fuse_opt_free_args(&args);
  if (session_ == nullptr) return Fail(ENOMEM, "fuse_session_new");
  cache_ = std::make_unique<SessionKernelCache>(session_);

  // libfuse closes the descriptor it is given.
  UniqueFd device(::fcntl(transport_.device(), F_DUPFD_CLOEXEC, 0));
  if (!device) return FailErrno("dup", "/dev/fuse");
  fuse_custom_io hooks{};
  hooks.read = &Hooks::Read;
  hooks.writev = &Hooks::WriteV;
  hooks.splice_send = &Hooks::SpliceSend;
  const int failed = fuse_session_custom_io(session_, &hooks, device.get());
  if (failed != 0) return Fail(failed < -1 ? -failed : EIO, "fuse_session_custom_io");
  static_cast<void>(device.release());
  return {};
}

void Session::Process(std::span<std::byte> request, std::span<std::byte> reply_space) noexcept {
  if (!ready_.load(std::memory_order_acquire)) {
    if (auto offer = ParseInitRequest(request)) offer_ = offer;
  }
  if (ServeRaw(engine_, transport_, request)) return;
  const RawRequestScope scope(request, reply_space,
                              setxattr_extended_.load(std::memory_order_relaxed));
  fuse_buf buffer{};
  buffer.size = scope.request().size();
  buffer.mem = scope.request().data();
  fuse_session_process_buf(session_, &buffer);
}

ssize_t Session::Send(std::span<const iovec> message) {
  if (ready_.load(std::memory_order_acquire)) return transport_.Send(message);
  const auto handshake = CompleteHandshake(message);
  const ssize_t sent = transport_.Send(message);
  if (!handshake) return sent;
  // The transport goes on once the kernel has the reply; only then does the mount work.
  Result<> outcome;
  if (!*handshake) {
    outcome = Fail(handshake->error().code(), handshake->error().op());
  } else {
    outcome = transport_.HandshakeDone((*handshake)->over_uring);
  }
  if (options_.on_ready) options_.on_ready(outcome ? nullptr : &outcome.error());
  return sent;
}

std::optional<Result<InitOutcome>> Session::CompleteHandshake(std::span<const iovec> message) {
  fuse_out_header header{};
  if (!offer_ || message.empty() || message[0].iov_len < sizeof header) return std::nullopt;
  std::memcpy(&header, message[0].iov_base, sizeof header);
  if (header.unique != offer_->unique) return std::nullopt;
  if (header.error != 0 || message.size() < 2) {
    return Fail(header.error != 0 ? -header.error : EPROTO, "FUSE handshake");
  }
  const std::span body(static_cast<std::byte*>(message[1].iov_base), message[1].iov_len);
  // A reply that cannot be completed is one to a kernel too old for all of that.
  const InitOutcome outcome =
      CompleteInitReply(*offer_,
                        {.passthrough = options_.passthrough && HoldsGlobalAdmin(),
                         .over_uring = transport_.wants_uring()},
                        body)
          .value_or(InitOutcome{});
  setxattr_extended_.store(outcome.setxattr_extended);
  engine_.Connect(outcome.passthrough ? &backing_ : nullptr, cache_.get());
  ready_.store(true, std::memory_order_release);
  log::Info("connected", {{"passthrough", outcome.passthrough}, {"io_uring", outcome.over_uring}});
  return outcome;
}

}  // namespace strata::fusefs
