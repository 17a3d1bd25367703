#include "tests/conformance/stress/worker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>

#include "base/unique_fd.h"
#include "tests/support/files.h"
#include "tests/support/must.h"

namespace strata::conformance {
namespace {

constexpr char kXattr[] = "user.stress";
constexpr std::size_t kBig = 200'000;  // over the threshold of passthrough=large

std::string StateLine(char type, mode_t mode, std::size_t links, std::string_view content,
                      std::string_view xattr) {
  char text[160];
  std::snprintf(text, sizeof text, "%c %04o links=%zu size=%zu hash=%zx xattr=", type,
                mode & 07777U, links, content.size(), std::hash<std::string_view>()(content));
  return text + std::string(xattr);
}

bool IsShared(const std::string& path) {
  return path.starts_with("shared") || path.starts_with("ticket") || path.starts_with("swap");
}

std::string XattrOf(const std::string& path) {
  char value[64];
  const ssize_t n = ::lgetxattr(path.c_str(), kXattr, value, sizeof value);
  return n > 0 ? std::string(value, static_cast<std::size_t>(n)) : "";
}

std::string LineOf(const std::string& path) {
  const struct stat st = support::Lstat(path);
  if (S_ISDIR(st.st_mode)) return "d";
  if (S_ISLNK(st.st_mode)) {
    char target[256];
    const auto n = support::MustCall(::readlink(path.c_str(), target, sizeof target), "readlink");
    return StateLine('l', 0777, st.st_nlink, {target, static_cast<std::size_t>(n)}, "");
  }
  return StateLine('f', st.st_mode, st.st_nlink, support::ReadFile(path), XattrOf(path));
}

// The worker at work. Every call must succeed: a failure is thrown.
class Worker {
 public:
  Worker(const std::string& root, int id, std::uint64_t seed)
      : root_(root), id_(id), random_(seed * 1000 + static_cast<std::uint64_t>(id)) {
    journal_.model = InitialModel(id);
  }

  Journal Run(std::chrono::steady_clock::time_point deadline) {
    try {
      while (std::chrono::steady_clock::now() < deadline) {
        Step();
        ++journal_.steps;
      }
    } catch (const std::exception& error) {
      journal_.failure = "worker " + std::to_string(id_) + ", step " +
                         std::to_string(journal_.steps) + ": " + error.what();
    }
    return std::move(journal_);
  }

 private:
  using File = std::shared_ptr<ModelFile>;
  using Name = std::pair<const std::string, File>;

  Model& model() { return journal_.model; }
  std::size_t Below(std::size_t limit) { return random_() % limit; }
  std::string At(const std::string& path) const { return root_ + "/" + path; }

  // A name nobody has, in a shared directory or one of the worker's own.
  std::string NewName() {
    std::string dir = "d" + std::to_string(Below(kSharedDirs));
    if (!model().directories.empty() && Below(3) == 0) dir = AnyDirectory();
    return dir + "/w" + std::to_string(id_) + "-n" + std::to_string(++names_);
  }

  std::string AnyDirectory() {
    auto found = model().directories.begin();
    std::advance(found, Below(model().directories.size()));
    return *found;
  }

  Name* AnyFile() {
    if (model().files.empty()) return nullptr;
    auto found = model().files.begin();
    std::advance(found, Below(model().files.size()));
    return &*found;
  }

  Name* AnyRegular() {
    for (int attempt = 0; attempt < 8; ++attempt) {
      Name* name = AnyFile();
      if (name != nullptr && !name->second->symlink) return name;
    }
    return nullptr;
  }

  std::string Data(std::size_t limit) {
    return std::string(Below(limit), static_cast<char>('a' + Below(26)));
  }

  void Must(long result, const char* call, const std::string& path) {
    if (result == -1) {
      throw std::runtime_error(std::string(call) + " " + path + ": " + ::strerrorname_np(errno));
    }
  }

  UniqueFd Open(const std::string& path, int flags) {
    UniqueFd fd(::open(At(path).c_str(), flags | O_CLOEXEC, 0644));
    Must(fd.get(), "open", path);
    return fd;
  }

  void WriteAt(const std::string& path, int fd, std::string_view data, off_t offset) {
    if (::pwrite(fd, data.data(), data.size(), offset) != static_cast<ssize_t>(data.size())) {
      Must(-1, "pwrite", path);
    }
  }

  void Step() {
    using Action = void (Worker::*)();
    constexpr Action kActions[] = {
        &Worker::Create,      &Worker::Create,       &Worker::Append,   &Worker::Overwrite,
        &Worker::MapAndWrite, &Worker::Truncate,     &Worker::Rename,   &Worker::Rename,
        &Worker::Replace,     &Worker::Exchange,     &Worker::Link,     &Worker::Unlink,
        &Worker::Unlink,      &Worker::Chmod,        &Worker::SetXattr, &Worker::MakeDir,
        &Worker::RemoveDir,   &Worker::RenameDir,    &Worker::SymLink,  &Worker::Verify,
        &Worker::Verify,      &Worker::AppendShared, &Worker::Swap,     &Worker::TakeTicket,
        &Worker::KeepOpen,
    };
    (this->*kActions[Below(std::size(kActions))])();
  }

  void Create() {
    if (model().files.size() > 120) return Unlink();
    const std::string path = NewName();
    auto file = std::make_shared<ModelFile>();
    file->content = Data(Below(20) == 0 ? kBig : 5000);
    const UniqueFd fd = Open(path, O_CREAT | O_EXCL | O_RDWR);
    WriteAt(path, fd.get(), file->content, 0);
    model().files[path] = file;
  }

  void Append() {
    Name* name = AnyRegular();
    if (name == nullptr) return;
    const std::string data = Data(300);
    const UniqueFd fd = Open(name->first, O_WRONLY | O_APPEND);
    if (::write(fd.get(), data.data(), data.size()) != static_cast<ssize_t>(data.size())) {
      Must(-1, "write", name->first);
    }
    name->second->content += data;
  }

  void Overwrite() {
    Name* name = AnyRegular();
    if (name == nullptr) return;
    std::string& content = name->second->content;
    const std::string data = Data(2000);
    const std::size_t offset = Below(content.size() + 1);
    const UniqueFd fd = Open(name->first, O_RDWR);
    WriteAt(name->first, fd.get(), data, static_cast<off_t>(offset));
    content.resize(std::max(content.size(), offset + data.size()));
    content.replace(offset, data.size(), data);
    Expect(name->first, content, ReadFrom(name->first, fd.get(), content.size()));
  }

  void MapAndWrite() {
    Name* name = AnyRegular();
    if (name == nullptr || name->second->content.empty()) return;
    std::string& content = name->second->content;
    const UniqueFd fd = Open(name->first, O_RDWR);
    void* address =
        ::mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (address == MAP_FAILED) Must(-1, "mmap", name->first);
    auto* bytes = static_cast<char*>(address);
    const bool same = std::memcmp(bytes, content.data(), content.size()) == 0;
    const std::size_t offset = Below(content.size());
    const std::size_t length = std::min<std::size_t>(content.size() - offset, 100);
    const std::string data(length, static_cast<char>('A' + Below(26)));
    std::copy(data.begin(), data.end(), bytes + offset);
    content.replace(offset, length, data);
    ::munmap(address, content.size());
    if (!same) throw std::runtime_error("mapping of " + name->first + " shows other content");
  }

  void Truncate() {
    Name* name = AnyRegular();
    if (name == nullptr) return;
    const std::size_t size = Below(name->second->content.size() + 500);
    Must(::truncate(At(name->first).c_str(), static_cast<off_t>(size)), "truncate", name->first);
    name->second->content.resize(size);
  }

  void Rename() {
    Name* name = AnyFile();
    if (name == nullptr) return;
    const std::string from = name->first;
    const std::string to = NewName();
    Must(::renameat2(AT_FDCWD, At(from).c_str(), AT_FDCWD, At(to).c_str(),
                     Below(2) == 0 ? RENAME_NOREPLACE : 0),
         "rename", from);
    model().files[to] = name->second;
    model().files.erase(from);
  }

  void Replace() {
    Name* from = AnyFile();
    Name* to = AnyFile();
    if (from == nullptr || from == to) return;
    Must(::rename(At(from->first).c_str(), At(to->first).c_str()), "rename over", to->first);
    if (from->second == to->second) return;  // links of one file: both stay
    to->second = from->second;
    model().files.erase(from->first);
  }

  void Exchange() {
    Name* from = AnyFile();
    Name* to = AnyFile();
    if (from == nullptr || from == to) return;
    Must(::renameat2(AT_FDCWD, At(from->first).c_str(), AT_FDCWD, At(to->first).c_str(),
                     RENAME_EXCHANGE),
         "exchange", to->first);
    std::swap(from->second, to->second);
  }

  void Link() {
    Name* name = AnyFile();
    if (name == nullptr) return;
    const std::string to = NewName();
    Must(::link(At(name->first).c_str(), At(to).c_str()), "link", name->first);
    model().files[to] = name->second;
  }

  void Unlink() {
    Name* name = AnyFile();
    if (name == nullptr) return;
    Must(::unlink(At(name->first).c_str()), "unlink", name->first);
    model().files.erase(name->first);
  }

  void Chmod() {
    Name* name = AnyRegular();
    if (name == nullptr) return;
    const auto mode = static_cast<mode_t>(0600 + Below(0100));
    Must(::chmod(At(name->first).c_str(), mode), "chmod", name->first);
    name->second->mode = mode;
  }

  void SetXattr() {
    Name* name = AnyRegular();
    if (name == nullptr) return;
    const std::string value = "v" + std::to_string(Below(1000));
    Must(::setxattr(At(name->first).c_str(), kXattr, value.data(), value.size(), 0), "setxattr",
         name->first);
    name->second->xattr = value;
  }

  void MakeDir() {
    if (model().directories.size() > 15) return RemoveDir();
    const std::string path = "d" + std::to_string(Below(kSharedDirs)) + "/w" + std::to_string(id_) +
                             "-t" + std::to_string(++names_);
    Must(::mkdir(At(path).c_str(), 0755), "mkdir", path);
    model().directories.insert(path);
  }

  void RemoveDir() {
    if (model().directories.empty()) return;
    const std::string path = AnyDirectory();
    std::erase_if(model().files, [&](const Name& name) {
      if (!name.first.starts_with(path + "/")) return false;
      Must(::unlink(At(name.first).c_str()), "unlink", name.first);
      return true;
    });
    Must(::rmdir(At(path).c_str()), "rmdir", path);
    model().directories.erase(path);
  }

  void RenameDir() {
    if (model().directories.empty()) return;
    const std::string from = AnyDirectory();
    const std::string to = "d" + std::to_string(Below(kSharedDirs)) + "/w" + std::to_string(id_) +
                           "-t" + std::to_string(++names_);
    Must(::rename(At(from).c_str(), At(to).c_str()), "rename directory", from);
    model().directories.erase(from);
    model().directories.insert(to);
    std::vector<std::pair<std::string, File>> moved;
    std::erase_if(model().files, [&](const Name& name) {
      if (!name.first.starts_with(from + "/")) return false;
      moved.emplace_back(to + name.first.substr(from.size()), name.second);
      return true;
    });
    model().files.insert(moved.begin(), moved.end());
  }

  void SymLink() {
    const std::string path = NewName();
    auto file = std::make_shared<ModelFile>();
    file->content = "target-" + std::to_string(Below(1000));
    file->symlink = true;
    Must(::symlink(file->content.c_str(), At(path).c_str()), "symlink", path);
    model().files[path] = file;
  }

  std::string ReadFrom(const std::string& path, int fd, std::size_t size) {
    std::string data(size + 1, '\0');
    const ssize_t n = ::pread(fd, data.data(), data.size(), 0);
    Must(n, "pread", path);
    data.resize(static_cast<std::size_t>(n));
    return data;
  }

  static void Expect(const std::string& path, std::string_view expected, std::string_view got) {
    if (expected == got) return;
    const auto at = std::ranges::mismatch(expected, got).in1 - expected.begin();
    throw std::runtime_error(path + ": " + std::to_string(got.size()) + " bytes instead of " +
                             std::to_string(expected.size()) + ", otherwise from " +
                             std::to_string(at));
  }

  void Verify() {
    Name* name = AnyFile();
    if (name == nullptr) return;
    const auto links = std::ranges::count(model().files, name->second, &Name::second);
    const ModelFile& file = *name->second;
    const std::string expected =
        file.symlink
            ? StateLine('l', 0777, static_cast<std::size_t>(links), file.content, "")
            : StateLine('f', file.mode, static_cast<std::size_t>(links), file.content, file.xattr);
    const std::string got = LineOf(At(name->first));
    if (got != expected) {
      throw std::runtime_error(name->first + ": " + got + " instead of " + expected);
    }
  }

  // A descriptor outlives the name, and a copy-up.
  void KeepOpen() {
    Name* name = AnyRegular();
    if (name == nullptr) return;
    const UniqueFd fd = Open(name->first, O_RDWR);
    const File file = name->second;
    Unlink();
    WriteAt("kept file", fd.get(), "kept", 0);
    file->content.resize(std::max<std::size_t>(file->content.size(), 4));
    file->content.replace(0, 4, "kept");
    Expect("kept file", file->content, ReadFrom("kept file", fd.get(), file->content.size()));
  }

  // --- on names of all

  void AppendShared() {
    const std::size_t number = Below(kSharedFiles);
    const std::string path = "shared" + std::to_string(number);
    const std::string record = Record(id_, journal_.appended[number]);
    const UniqueFd fd = Open(path, O_WRONLY | O_APPEND);
    if (::write(fd.get(), record.data(), kRecordSize) != kRecordSize) Must(-1, "append", path);
    ++journal_.appended[number];
  }

  // Replaces a name that others replace and read at the same time: there is always a whole one.
  void Swap() {
    const std::string path = "swap" + std::to_string(Below(3));
    const std::string temporary = path + ".w" + std::to_string(id_);
    const std::string content(1000, static_cast<char>('a' + id_));
    {
      const UniqueFd fd = Open(temporary, O_CREAT | O_TRUNC | O_WRONLY);
      WriteAt(temporary, fd.get(), content, 0);
    }
    Must(::rename(At(temporary).c_str(), At(path).c_str()), "rename", temporary);
    const UniqueFd fd = Open(path, O_RDONLY);
    const std::string got = ReadFrom(path, fd.get(), content.size());
    if (got.size() != content.size() || got.find_first_not_of(got[0]) != std::string::npos) {
      throw std::runtime_error(path + " is a mixture");
    }
  }

  // Made by one, seen by all, removed by whoever made it.
  void TakeTicket() {
    const std::string path = "ticket" + std::to_string(Below(kSharedTickets));
    const int fd = ::open(At(path).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0) {
      if (errno != EEXIST) Must(-1, "open exclusively", path);
      return;
    }
    const UniqueFd own(fd);
    const std::string mark = "w" + std::to_string(id_);
    WriteAt(path, fd, mark, 0);
    {
      const UniqueFd again = Open(path, O_RDONLY);
      Expect(path, mark, ReadFrom(path, again.get(), mark.size()));
    }
    Must(::unlink(At(path).c_str()), "unlink", path);
  }

  const std::string root_;
  const int id_;
  std::mt19937_64 random_;
  Journal journal_;
  long names_ = 0;
};

}  // namespace

std::string Record(int worker, long n) {
  const std::string number = std::to_string(n);
  std::string record = "w" + std::to_string(worker) + " ";
  record.resize(kRecordSize - 1 - number.size(), '0');
  return record + number + "\n";
}

std::map<std::string, std::string> Model::Lines() const {
  std::map<const ModelFile*, std::size_t> links;
  for (const auto& [path, file] : files) ++links[file.get()];
  std::map<std::string, std::string> lines;
  for (const auto& [path, file] : files) {
    lines[path] = file->symlink
                      ? StateLine('l', 0777, links[file.get()], file->content, "")
                      : StateLine('f', file->mode, links[file.get()], file->content, file->xattr);
  }
  for (const std::string& path : directories) lines[path] = "d";
  return lines;
}

std::map<std::string, std::string> LinesOf(const std::string& root) {
  std::map<std::string, std::string> lines;
  for (const std::string& path : support::ListAll(root)) {
    if (!IsShared(path) && path.find('/') != std::string::npos) {
      lines[path] = LineOf(root + "/" + path);
    }
  }
  return lines;
}

Model InitialModel(int worker) {
  Model model;
  const std::string prefix = "/w" + std::to_string(worker);
  for (int i = 0; i < 30; ++i) {
    auto file = std::make_shared<ModelFile>();
    const auto size = i % 7 == 0 ? kBig : static_cast<std::size_t>(i) * 311;
    file->content = std::string(size, static_cast<char>('0' + i % 10));
    const std::string dir = "d" + std::to_string(i % kSharedDirs);
    model.files[dir + prefix + "-l" + std::to_string(i)] = file;
    if (i % 5 == 0) model.files[dir + prefix + "-h" + std::to_string(i)] = file;
  }
  for (int i = 0; i < 5; ++i) {
    const std::string dir = "d" + std::to_string(i) + prefix + "-d" + std::to_string(i);
    model.directories.insert(dir);
    for (const char* name : {"/a", "/b", "/c"}) {
      auto file = std::make_shared<ModelFile>();
      file->content = dir + name;
      model.files[dir + name] = file;
    }
  }
  return model;
}

void WriteModel(const Model& model, const std::string& root) {
  for (const std::string& path : model.directories) support::MakeDir(root + "/" + path);
  std::map<const ModelFile*, std::string> written;
  for (const auto& [path, file] : model.files) {
    const auto [first, fresh] = written.try_emplace(file.get(), path);
    if (fresh) {
      support::WriteFile(root + "/" + path, file->content, file->mode);
    } else {
      support::MustCall(::link((root + "/" + first->second).c_str(), (root + "/" + path).c_str()),
                        "link");
    }
  }
}

Journal Work(const std::string& root, int worker, std::uint64_t seed,
             std::chrono::steady_clock::time_point deadline) {
  return Worker(root, worker, seed).Run(deadline);
}

}  // namespace strata::conformance
