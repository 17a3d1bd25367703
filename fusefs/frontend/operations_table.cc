#include <array>
#include <exception>
#include <new>

#include "base/logging.h"
#include "fusefs/frontend/operations.h"

namespace strata::fusefs {
namespace {

// A string literal as a template argument.
template <std::size_t kSize>
struct Name {
  // NOLINTNEXTLINE(google-explicit-constructor): deduced from the literal
  consteval Name(const char (&literal)[kSize]) {
    for (std::size_t i = 0; i < kSize; ++i) text[i] = literal[i];
  }
  std::array<char, kSize> text{};
};

// Runs one operation, whose error, thrown or returned, becomes the reply.
template <class Operation>
void Serve(Request& request, const char* name, Operation operation) noexcept {
  try {
    const Result<> result = operation();
    if (!result && request.raw() != nullptr) request.Fail(result.error());
  } catch (const std::bad_alloc&) {
    if (request.raw() != nullptr) request.Fail(Error(ENOMEM, name));
  } catch (const std::exception& exception) {
    log::Error("operation threw", {{"operation", name}, {"what", exception.what()}});
    if (request.raw() != nullptr) request.Fail(Error(EIO, name));
  } catch (...) {
    log::Error("operation threw", {{"operation", name}});
    if (request.raw() != nullptr) request.Fail(Error(EIO, name));
  }
}

// The callback libfuse gets for a member function of Operations.
template <Name kName, auto kMethod>
struct Callback;

template <Name kName, class... Args, Result<> (Operations::*kMethod)(Request&, Args...)>
struct Callback<kName, kMethod> {
  static void Call(fuse_req_t raw, Args... args) noexcept {
    auto* operations = static_cast<Operations*>(fuse_req_userdata(raw));
    Request request(raw, kName.text.data());
    Serve(request, kName.text.data(), [&] { return (operations->*kMethod)(request, args...); });
  }
};

template <Name kName, auto kMethod>
inline constexpr auto kCallback = &Callback<kName, kMethod>::Call;

}  // namespace

fuse_lowlevel_ops OperationsTable() {
  fuse_lowlevel_ops ops{};
  ops.lookup = kCallback<"lookup", &Operations::Lookup>;
  ops.forget = kCallback<"forget", &Operations::Forget>;
  ops.forget_multi = kCallback<"forget_multi", &Operations::ForgetMulti>;
  ops.getattr = kCallback<"getattr", &Operations::GetAttr>;
  ops.setattr = kCallback<"setattr", &Operations::SetAttr>;
  ops.readlink = kCallback<"readlink", &Operations::ReadLink>;
  ops.mknod = kCallback<"mknod", &Operations::MakeNode>;
  ops.mkdir = kCallback<"mkdir", &Operations::MakeDir>;
  ops.unlink = kCallback<"unlink", &Operations::Unlink>;
  ops.rmdir = kCallback<"rmdir", &Operations::RemoveDir>;
  ops.symlink = kCallback<"symlink", &Operations::SymLink>;
  ops.rename = kCallback<"rename", &Operations::Rename>;
  ops.link = kCallback<"link", &Operations::Link>;
  ops.open = kCallback<"open", &Operations::Open>;
  ops.create = kCallback<"create", &Operations::Create>;
  ops.read = kCallback<"read", &Operations::Read>;
  ops.write = kCallback<"write", &Operations::Write>;
  ops.flush = kCallback<"flush", &Operations::Flush>;
  ops.release = kCallback<"release", &Operations::Release>;
  ops.fsync = kCallback<"fsync", &Operations::Sync>;
  ops.fallocate = kCallback<"fallocate", &Operations::Allocate>;
  ops.copy_file_range = kCallback<"copy_file_range", &Operations::CopyRange>;
  ops.lseek = kCallback<"lseek", &Operations::Seek>;
  ops.ioctl = kCallback<"ioctl", &Operations::IoControl>;
  ops.getlk = kCallback<"getlk", &Operations::GetLock>;
  ops.setlk = kCallback<"setlk", &Operations::SetLock>;
  ops.flock = kCallback<"flock", &Operations::Flock>;
  ops.opendir = kCallback<"opendir", &Operations::OpenDir>;
  ops.readdir = kCallback<"readdir", &Operations::ReadDir>;
  ops.readdirplus = kCallback<"readdirplus", &Operations::ReadDirPlus>;
  ops.fsyncdir = kCallback<"fsyncdir", &Operations::SyncDir>;
  ops.statfs = kCallback<"statfs", &Operations::StatFs>;
  ops.setxattr = kCallback<"setxattr", &Operations::SetXattr>;
  ops.getxattr = kCallback<"getxattr", &Operations::GetXattr>;
  ops.listxattr = kCallback<"listxattr", &Operations::ListXattr>;
  ops.removexattr = kCallback<"removexattr", &Operations::RemoveXattr>;
  ops.access = kCallback<"access", &Operations::Access>;
  return ops;
}

}  // namespace strata::fusefs
