#include "manager/container/etc_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/marks.h"
#include "manager/container/host_names.h"

namespace strata::manager {
namespace {

constexpr std::array kNames{"hosts", "hostname", "resolv.conf"};
// What the runtime mounts on in every container, and would make in its own layer.
constexpr std::array kMountPoints{"dev", "proc", "sys"};
constexpr std::size_t kHostFileMax = std::size_t{1} << 20U;

std::string ReadHostFile(const char* path) {
  FileOps& ops = FileOps::System();
  auto fd = ops.Open(AT_FDCWD, path, O_RDONLY);
  return fd ? ReadAll(ops, fd->get(), kHostFileMax).value_or("") : "";
}

Result<std::string> HostsText(const HostConfig& host) {
  std::string text;
  if (host.network_mode == "host") text = ReadHostFile("/etc/hosts");
  if (text.empty()) {
    text =
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "ff00::0\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n";
  }
  if (!text.ends_with('\n')) text.push_back('\n');
  for (const auto& entry : host.extra_hosts) {
    STRATA_TRY_ASSIGN(const ExtraHost extra, ParseExtraHost(entry));
    text += extra.address + '\t' + extra.name + '\n';
  }
  return text;
}

std::string ResolvText(const HostConfig& host) {
  if (host.dns.empty() && host.dns_search.empty() && host.dns_options.empty()) {
    return ReadHostFile("/etc/resolv.conf");
  }
  std::string text;
  for (const auto& server : host.dns) text += "nameserver " + server + '\n';
  const auto line = [&](const char* key, const std::vector<std::string>& words) {
    if (words.empty()) return;
    text += key;
    for (const auto& word : words) text += ' ' + word;
    text.push_back('\n');
  };
  line("search", host.dns_search);
  line("options", host.dns_options);
  return text;
}

Result<> WriteNew(const std::string& path, const std::string& text) {
  FileOps& ops = FileOps::System();
  auto fd = ops.Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
  if (!fd) {
    if (fd.error().code() == EEXIST) return {};
    return std::unexpected(std::move(fd).error().WithContext(path));
  }
  STRATA_TRY(ops.Chmod(fd->get(), 0644));  // whatever the umask
  return WriteAll(ops, fd->get(), text);
}

Result<> MakeDirectoryOnce(const std::string& path) {
  auto made = FileOps::System().MakeDir(AT_FDCWD, path.c_str(), 0755);
  if (made || made.error().code() == EEXIST) return {};
  return std::unexpected(std::move(made).error().WithContext(path));
}

// The layers' topmost "etc", if it is a directory.
std::optional<struct stat> TopEtc(const std::vector<std::string>& layers) {
  for (const auto& layer : layers) {
    const auto st = FileOps::System().StatAt(AT_FDCWD, JoinPath(layer, "etc").c_str());
    if (st) return *st;
  }
  return std::nullopt;
}

bool ImageHas(const std::vector<std::string>& layers, const std::string& path) {
  for (const auto& layer : layers) {
    const auto st = FileOps::System().StatAt(AT_FDCWD, JoinPath(layer, path).c_str());
    if (st) return !layerstore::IsWhiteoutDevice(*st);
  }
  return false;
}

}  // namespace

Result<std::vector<MountSpec>> PrepareEtcFiles(const std::string& directory,
                                               const ContainerConfig& config,
                                               const HostConfig& host) {
  STRATA_TRY_ASSIGN(const std::string hosts, HostsText(host));
  STRATA_TRY(WriteNew(JoinPath(directory, "hosts"), hosts));
  STRATA_TRY(WriteNew(JoinPath(directory, "hostname"), config.hostname + '\n'));
  STRATA_TRY(WriteNew(JoinPath(directory, "resolv.conf"), ResolvText(host)));
  std::vector<MountSpec> mounts;
  for (const char* name : kNames) {
    mounts.push_back({std::string("/etc/") + name,
                      "bind",
                      JoinPath(directory, name),
                      {"rbind", "rprivate", "rw"}});
  }
  return mounts;
}

Result<bool> PrepareInitLayer(const std::string& directory,
                              const std::vector<std::string>& layers) {
  std::vector<std::string> files;
  std::vector<std::string> directories;
  const std::optional<struct stat> etc = TopEtc(layers);
  // Where /etc is a symbolic link, say, there is nothing to put a directory over.
  if (!etc || S_ISDIR(etc->st_mode)) {
    for (const char* name : kNames) {
      const std::string path = std::string("etc/") + name;
      if (!ImageHas(layers, path)) files.push_back(path);
    }
  }
  if (!files.empty()) directories.emplace_back("etc");
  for (const char* name : kMountPoints) {
    if (!ImageHas(layers, name)) directories.emplace_back(name);
  }
  if (directories.empty()) return false;

  FileOps& ops = FileOps::System();
  STRATA_TRY(MakeDirectoryOnce(directory));
  for (const auto& name : directories) STRATA_TRY(MakeDirectoryOnce(JoinPath(directory, name)));
  for (const auto& path : files) STRATA_TRY(WriteNew(JoinPath(directory, path), ""));
  // A merged directory shows the attributes of its topmost part: they stay the image's.
  const auto copy_attributes = [&](const std::string& path, const struct stat& st) -> Result<> {
    STRATA_TRY(ops.ChownAt(AT_FDCWD, path.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW));
    STRATA_TRY(ops.ChmodAt(AT_FDCWD, path.c_str(), st.st_mode & 07777U));
    const std::array<timespec, 2> times{st.st_atim, st.st_mtim};
    return ops.UtimesAt(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
  };
  if (etc && !files.empty()) {
    STRATA_TRY(copy_attributes(JoinPath(directory, "etc"), *etc));
  }
  if (!layers.empty()) {
    STRATA_TRY_ASSIGN(const struct stat root, ops.StatAt(AT_FDCWD, layers.front().c_str()));
    STRATA_TRY(copy_attributes(directory, root));
  }
  return true;
}

}  // namespace strata::manager
