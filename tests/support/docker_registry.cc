#include "tests/support/docker_registry.h"

#include <arpa/inet.h>
#include <crypt.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/file_ops.h"
#include "tests/support/must.h"

namespace strata::support {
namespace {

constexpr const char* kProgram = "/usr/bin/docker-registry";
constexpr std::chrono::seconds kStartTimeout{20};
constexpr std::size_t kLogLimit = std::size_t{1} << 24U;

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::uint16_t FreePort() {
  const UniqueFd fd(MustCall(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  MustCall(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), "bind");
  MustCall(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  return ntohs(address.sin_port);
}

bool Listens(std::uint16_t port) {
  const UniqueFd fd(MustCall(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  sockaddr_in address = Loopback(port);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

void WriteFile(const std::string& path, const std::string& text) {
  FileOps& ops = FileOps::System();
  const UniqueFd fd = Must(ops.Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  Must(WriteAll(ops, fd.get(), text));
}

// bcrypt at its lowest cost: what Apache's htpasswd -B writes.
std::string HtpasswdLine(const std::string& user, const std::string& password) {
  crypt_data data{};
  const char* hash = ::crypt_r(password.c_str(), "$2b$04$abcdefghijklmnopqrstuu", &data);
  if (hash == nullptr || hash[0] == '*') throw std::runtime_error("crypt_r has no bcrypt");
  return user + ":" + hash + "\n";
}

std::string Config(const std::string& directory, const std::string& address,
                   const DockerRegistryOptions& options) {
  std::string text =
      "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\n"
      "storage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: " +
      directory + "/data\nhttp:\n  addr: " + address + "\n";
  if (!options.certificate_file.empty()) {
    text += "  tls:\n    certificate: " + options.certificate_file +
            "\n    key: " + options.key_file + "\n";
  }
  if (!options.user.empty()) {
    text += "auth:\n  htpasswd:\n    realm: test\n    path: " + directory + "/htpasswd\n";
  }
  return text;
}

}  // namespace

bool DockerRegistry::Installed() { return ::access(kProgram, X_OK) == 0; }

std::unique_ptr<DockerRegistry> DockerRegistry::Start(const std::string& directory,
                                                      const DockerRegistryOptions& options) {
  const std::uint16_t port = FreePort();
  const std::string address = "127.0.0.1:" + std::to_string(port);
  WriteFile(directory + "/config.yml", Config(directory, address, options));
  if (!options.user.empty()) {
    WriteFile(directory + "/htpasswd", HtpasswdLine(options.user, options.password));
  }
  std::unique_ptr<DockerRegistry> registry(
      new DockerRegistry(directory, address,
                         Must(ChildProcess::Start({kProgram, "serve", directory + "/config.yml"},
                                                  directory + "/log"))));
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (!Listens(port)) {
    if (!registry->process_.Running() || std::chrono::steady_clock::now() > deadline) {
      throw std::runtime_error("docker-registry did not start: " + registry->Log());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return registry;
}

std::string DockerRegistry::BlobPath(const std::string& hex) const {
  return directory_ + "/data/docker/registry/v2/blobs/sha256/" + hex.substr(0, 2) + "/" + hex +
         "/data";
}

std::string DockerRegistry::Log() const {
  FileOps& ops = FileOps::System();
  const UniqueFd fd = Must(ops.Open(AT_FDCWD, (directory_ + "/log").c_str(), O_RDONLY));
  return Must(ReadAll(ops, fd.get(), kLogLimit));
}

}  // namespace strata::support
