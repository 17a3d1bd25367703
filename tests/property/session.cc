#include "tests/property/session.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/try.h"
#include "tests/property/sequence_text.h"

namespace strata::property {
namespace {

using support::CompareRules;
using support::NodeRecord;
using support::Printable;
using support::TreeSnapshot;

constexpr support::SnapshotOptions kEverything = {.contents = true, .xattrs = true, .holes = true};

std::string Describe(const Outcome& outcome) {
  std::string out = std::to_string(outcome.value);
  if (outcome.error != 0) out += std::string(" ") + ::strerrorname_np(outcome.error);
  if (!outcome.data.empty()) {
    constexpr std::size_t kShown = 200;
    out += " \"" + Printable(std::string_view(outcome.data).substr(0, kShown)) + "\"";
    if (outcome.data.size() > kShown) {
      out += "... sha256 " + Digest::Of(outcome.data).Short();
    }
  }
  return out;
}

bool Unlinked(int fd) {
  struct stat st;
  return ::fstat(fd, &st) == 0 && st.st_nlink == 0;
}

std::string ReadContent(int fd) {
  std::string content;
  char buffer[65536];
  ssize_t n = 0;
  while ((n = ::pread(fd, buffer, sizeof(buffer), static_cast<off_t>(content.size()))) > 0) {
    content.append(buffer, static_cast<std::size_t>(n));
  }
  return content;
}

bool Modifies(OpKind kind) {
  switch (kind) {
    case OpKind::kWrite:
    case OpKind::kWriteNext:
    case OpKind::kMapWrite:
    case OpKind::kFTruncate:
    case OpKind::kTruncate:
    case OpKind::kFallocate:
    case OpKind::kLink:
    case OpKind::kRename:
    case OpKind::kChmod:
    case OpKind::kFChmod:
    case OpKind::kChown:
    case OpKind::kFChown:
    case OpKind::kUtimes:
    case OpKind::kFUtimes:
    case OpKind::kSetXattr:
    case OpKind::kFSetXattr:
    case OpKind::kRemoveXattr:
      return true;
    default:
      return false;
  }
}

bool UsesSlotAsFile(OpKind kind) {
  switch (kind) {
    case OpKind::kWrite:
    case OpKind::kWriteNext:
    case OpKind::kMapWrite:
    case OpKind::kFTruncate:
    case OpKind::kFallocate:
    case OpKind::kFChmod:
    case OpKind::kFChown:
    case OpKind::kFUtimes:
    case OpKind::kFSetXattr:
    case OpKind::kFStat:
      return true;
    default:
      return false;
  }
}

}  // namespace

Session::Session(Executor union_side, Executor model_side, std::string union_root,
                 std::string model_root, Options options, InodeBook& book)
    : union_(std::move(union_side)),
      model_(std::move(model_side)),
      union_root_(std::move(union_root)),
      model_root_(std::move(model_root)),
      options_(std::move(options)),
      book_(book) {
  // The clock that the kernel's file times follow.
  ::clock_gettime(CLOCK_REALTIME_COARSE, &start_);
}

Result<Session> Session::Open(const std::string& union_root, const std::string& model_root,
                              Options options, InodeBook& book) {
  STRATA_TRY_ASSIGN(Executor union_side, Executor::Open(union_root, options.lenient));
  STRATA_TRY_ASSIGN(Executor model_side, Executor::Open(model_root));
  Session session(std::move(union_side), std::move(model_side), union_root, model_root,
                  std::move(options), book);
  STRATA_TRY(session.FindNearlyDense());
  return session;
}

// T11's files.
Result<> Session::FindNearlyDense() {
  constexpr off_t kBlock = 4096;
  STRATA_TRY_ASSIGN(const TreeSnapshot tree,
                    TreeSnapshot::Take(model_root_, {.contents = false, .holes = true}));
  for (const auto& [path, node] : tree.nodes()) {
    off_t holes = node.stat.st_size;
    for (const auto& [from, to] : node.data_ranges) holes -= to - from;
    if (!S_ISREG(node.stat.st_mode) || node.xattrs.empty() || holes > kBlock) continue;
    if (const auto file = IdentityOf(model_.root(), path)) loose_holes_.insert(*file);
  }
  return {};
}

void Session::Close() {
  union_.CloseAll();
  union_.CloseRoot();
  model_.CloseAll();
  slots_ = {};
}

bool Session::Stale(std::uint32_t slot) const {
  return slots_[slot].open && slots_[slot].frozen && touched_.contains(slots_[slot].file);
}

// Where T3 would let the two sides go different ways for good.
bool Session::MustSkip(const Operation& op) const {
  switch (op.kind) {
    case OpKind::kReadNext:
    case OpKind::kCopyRange:
      return Stale(op.slot);
    case OpKind::kChown:
    case OpKind::kFChown:
      if (op.a == -1 && op.b == -1) return true;  // T8
      [[fallthrough]];
    default:
      return options_.lenient && UsesSlotAsFile(op.kind) && Unlinked(model_.slot(op.slot));
  }
}

Session::Targets Session::FindTargets(const Operation& op) const {
  if (op.kind == OpKind::kCopyRange) {
    const int to = model_.slot(op.slot2);
    return {to >= 0 ? IdentityOf(to, "") : std::nullopt, std::nullopt};
  }
  if (UsesSlotAsFile(op.kind)) {
    const int fd = model_.slot(op.slot);
    return {fd >= 0 ? IdentityOf(fd, "") : std::nullopt, std::nullopt};
  }
  if (op.path.empty()) return {};
  const bool follow = op.kind == OpKind::kTruncate || op.kind == OpKind::kChmod ||
                      (op.kind == OpKind::kOpen && (op.flags & O_NOFOLLOW) == 0);
  Targets targets;
  targets.first = IdentityOf(model_.Base(op), op.path, follow);
  if (!op.path2.empty()) targets.second = IdentityOf(model_.Base(op), op.path2);
  return targets;
}

void Session::Touch(const std::optional<Identity>& file) {
  if (file) touched_.insert(*file);
}

void Session::TrackOpen(const Operation& op, const Targets& before) {
  Slot& slot = slots_[op.slot];
  slot = {};
  const int fd = model_.slot(op.slot);
  const std::optional<Identity> file = IdentityOf(fd, "");
  if (!file) return;
  slot.open = true;
  slot.file = *file;
  if (!before.first || (op.flags & O_TRUNC) != 0) Touch(file);
  struct stat st;
  const bool read_only = (op.flags & O_ACCMODE) == O_RDONLY;
  if (read_only && !touched_.contains(*file) && ::fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    slot.frozen = ReadContent(fd);
  }
}

void Session::TrackSetIds(OpKind kind, const std::optional<Identity>& file) {
  if (!file || !options_.passthrough) return;
  switch (kind) {
    case OpKind::kWrite:
    case OpKind::kWriteNext:
    case OpKind::kMapWrite:
    case OpKind::kCopyRange:
      written_.insert(*file);
      break;
    case OpKind::kChmod:
    case OpKind::kFChmod:
      written_.erase(*file);
      break;
    default:
      break;
  }
}

void Session::Track(const Operation& op, const Targets& before) {
  if (op.kind == OpKind::kOpen) {
    TrackOpen(op, before);
  } else if (op.kind == OpKind::kClose) {
    slots_[op.slot] = {};
  } else if (op.kind == OpKind::kCopyRange) {
    Touch(before.first);
    TrackSetIds(op.kind, before.first);
  } else if (Modifies(op.kind)) {
    Touch(before.first);
    Touch(before.second);
    TrackSetIds(op.kind, before.first);
    if (op.kind == OpKind::kFallocate && before.first) loose_holes_.insert(*before.first);
  }
}

std::string Session::Step(const Operation& op) {
  if (MustSkip(op)) return "";
  const Targets before = FindTargets(op);
  const Outcome actual = union_.Run(op);
  const Outcome expected = model_.Run(op);
  std::string difference = Compare(op, actual, expected);
  if (!difference.empty()) return difference;
  if (expected.error == 0) Track(op, before);
  return "";
}

// T3 for reads: what the file held when it was opened.
bool Session::SameStaleRead(const Operation& op, const Outcome& actual) const {
  if (!Stale(op.slot) || actual.error != 0) return false;
  const std::string& frozen = *slots_[op.slot].frozen;
  const std::size_t from =
      std::min(frozen.size(), op.kind == OpKind::kRead ? static_cast<std::size_t>(op.a) : 0U);
  return actual.data == frozen.substr(from, static_cast<std::size_t>(op.b));
}

bool Session::SameSeek(const Operation& op, const Outcome& actual, const Outcome& expected) const {
  if (actual.error == expected.error && actual.value == expected.value) return true;
  if (Stale(op.slot)) return true;  // T3: of either version
  // T5: only that it is a position in the rest of the file, or that there is none.
  return loose_holes_.contains(slots_[op.slot].file) &&
         (actual.error == ENXIO || (actual.error == 0 && actual.value >= op.a));
}

bool RemovedNoAcl(const Operation& op, const Outcome& actual) {  // T6
  return op.kind == OpKind::kRemoveXattr && op.name.starts_with("system.posix_acl_") &&
         actual.error == ENODATA;
}

bool RenamedOntoFull(const Operation& op, const Outcome& actual,
                     const Outcome& expected) {  // T12
  return op.kind == OpKind::kRename && actual.error == ENOTEMPTY && expected.error == EEXIST;
}

std::string Session::Compare(const Operation& op, const Outcome& actual, const Outcome& expected) {
  if (op.kind == OpKind::kSeek && SameSeek(op, actual, expected)) return "";
  if (actual.error == expected.error && actual.value == expected.value &&
      actual.data == expected.data) {
    return expected.stat ? CompareStat(op, actual, expected) : "";
  }
  if (expected.error == 0 && RemovedNoAcl(op, actual)) return "";
  if (RenamedOntoFull(op, actual, expected)) return "";
  if ((op.kind == OpKind::kRead || op.kind == OpKind::kMapRead) && SameStaleRead(op, actual)) {
    return "";
  }
  return "  " + ToText(op) + "\n    union: " + Describe(actual) +
         "\n    model: " + Describe(expected) + "\n";
}

std::string Session::CompareStat(const Operation& op, const Outcome& actual,
                                 const Outcome& expected) {
  const std::string path = op.path.empty() ? "slot " + std::to_string(op.slot) : op.path;
  NodeRecord union_node;
  NodeRecord model_node;
  union_node.stat = *actual.stat;
  model_node.stat = *expected.stat;
  CompareRules rules = BasicRules();
  const std::optional<Identity> file = FindTargets(op).first;
  if (file) AddRulesFor(*file, path, rules);
  if (op.kind == OpKind::kFStat && Stale(op.slot)) {  // T3
    const off_t frozen = static_cast<off_t>(slots_[op.slot].frozen->size());
    if (union_node.stat.st_size == frozen) union_node.stat.st_size = model_node.stat.st_size;
  }
  std::string difference = support::DiffNodes(path, model_node, union_node, rules);
  if (file) {
    const std::string inode = book_.Check(*file, actual.stat->st_ino);
    if (!inode.empty()) difference += "  " + Printable(path) + ": " + inode + "\n";
  }
  if (difference.empty()) return "";
  return "  " + ToText(op) + " (left: model, right: union)\n" + difference;
}

CompareRules Session::BasicRules() const {
  CompareRules rules;
  rules.clock_since = start_;
  rules.directory_times = !options_.lenient;
  rules.loose_lock_bit = true;
  return rules;
}

void Session::AddRulesFor(const Identity& file, const std::string& path,
                          CompareRules& rules) const {
  if (const auto hidden = options_.hidden_links.find(file); hidden != options_.hidden_links.end()) {
    rules.extra_links[path] = hidden->second;
  }
  if (loose_holes_.contains(file)) rules.loose_holes.insert(path);
  if (written_.contains(file)) rules.lost_set_ids.insert(path);
}

CompareRules Session::RulesFor(const TreeSnapshot& model_tree) const {
  CompareRules rules = BasicRules();
  rules.holes = true;
  for (const auto& [path, node] : model_tree.nodes()) {
    if (S_ISDIR(node.stat.st_mode)) continue;
    const std::optional<Identity> file = IdentityOf(model_.root(), path);
    if (file) AddRulesFor(*file, path, rules);
  }
  return rules;
}

std::string Session::CheckInodes(const TreeSnapshot& union_tree, const TreeSnapshot& model_tree) {
  std::string wrong;
  std::map<ino_t, std::pair<Identity, std::string>> owners;
  for (const auto& [path, node] : model_tree.nodes()) {
    const auto other = union_tree.nodes().find(path);
    const std::optional<Identity> file = IdentityOf(model_.root(), path);
    if (other == union_tree.nodes().end() || !file) continue;
    const ino_t ino = other->second.stat.st_ino;
    const std::string changed = book_.Check(*file, ino);
    if (!changed.empty()) wrong += "  " + Printable(path) + ": " + changed + "\n";
    const auto [owner, fresh] = owners.emplace(ino, std::pair(*file, path));
    if (!fresh && owner->second.first != *file) {
      wrong += "  " + Printable(path) + ": has the st_ino of " + Printable(owner->second.second) +
               ", another file\n";
    }
  }
  return wrong;
}

std::string Session::CompareTrees() {
  support::SnapshotOptions everything = kEverything;
  everything.skip_unfindable = options_.lenient;
  const Result<TreeSnapshot> union_tree = TreeSnapshot::Take(union_root_, everything);
  if (!union_tree) return "  reading the union: " + union_tree.error().ToString() + "\n";
  return CompareWith(*union_tree, Inodes::kCheck);
}

std::string Session::CompareWith(const TreeSnapshot& union_tree, Inodes inodes) {
  const Result<TreeSnapshot> model_tree = TreeSnapshot::Take(model_root_, kEverything);
  if (!model_tree) return "  reading the model: " + model_tree.error().ToString() + "\n";
  std::string difference = support::Diff(*model_tree, union_tree, RulesFor(*model_tree));
  if (!difference.empty()) return "  trees differ (left: model, right: union)\n" + difference;
  return inodes == Inodes::kCheck ? CheckInodes(union_tree, *model_tree) : "";
}

}  // namespace strata::property
