#include "fusefs/union/node_table.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <utility>

namespace strata::fusefs {
namespace {

// Freed memory is given back when so many nodes are down to a fourth, and when only the root is
// left.
constexpr std::uint64_t kWorthTrimming = 256;
constexpr std::uint64_t kTrimShare = 4;
constexpr std::size_t kPage = 4096;

std::size_t NameClass(std::size_t length, std::size_t unit) {
  return (length + 1 + unit - 1) / unit - 1;
}

}  // namespace

Result<std::unique_ptr<NodeTable>> NodeTable::Create() {
  UniqueFd memory(::memfd_create("strata-nodes", MFD_CLOEXEC));
  if (!memory) return FailErrno("memfd_create");
  constexpr std::size_t kTotal = kNodeBytes + kNameBytes;
  if (::ftruncate(memory.get(), static_cast<off_t>(kTotal)) != 0) return FailErrno("ftruncate");
  void* base =
      ::mmap(nullptr, kTotal, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory.get(), 0);
  if (base == MAP_FAILED) return FailErrno("mmap", "node table");
  return std::unique_ptr<NodeTable>(
      new NodeTable(std::move(memory), static_cast<std::byte*>(base)));
}

NodeTable::~NodeTable() { ::munmap(base_, kNodeBytes + kNameBytes); }

std::string_view NodeTable::NameOf(const NodeRecord& record) {
  if (record.name == 0) return {};
  const char* text = NameAt(record.name);
  return {text + 1, static_cast<unsigned char>(text[0])};
}

Result<std::uint32_t> NodeTable::AddName(std::string_view name) {
  if (name.empty()) return 0U;
  if (name.size() > 255) return Fail(ENAMETOOLONG, "name heap");
  const std::size_t units = NameClass(name.size(), kNameUnit) + 1;
  std::uint32_t ref = 0;
  {
    MutexLock lock(free_mu_);
    auto& free = free_names_[units - 1];
    if (!free.empty()) {
      ref = free.back();
      free.pop_back();
    } else {
      if ((next_name_ + units) * kNameUnit > kNameBytes) return Fail(ENFILE, "name heap");
      ref = next_name_;
      next_name_ += static_cast<std::uint32_t>(units);
    }
  }
  char* text = NameAt(ref);
  text[0] = static_cast<char>(name.size());
  std::memcpy(text + 1, name.data(), name.size());
  return ref;
}

void NodeTable::DropName(std::uint32_t ref) {
  if (ref == 0) return;
  const auto length = static_cast<unsigned char>(*NameAt(ref));
  MutexLock lock(free_mu_);
  free_names_[NameClass(length, kNameUnit)].push_back(ref);
}

Result<WeakNode> NodeTable::Add(const NodeRecord& fields, std::string_view name) {
  auto name_ref = AddName(name);
  if (!name_ref) return std::unexpected(std::move(name_ref).error());
  NodeIndex index = 0;
  std::uint32_t generation = 0;
  {
    MutexLock lock(free_mu_);
    if (!free_nodes_.empty()) {
      index = free_nodes_.back();
      free_nodes_.pop_back();
    } else if (next_node_ < kMaxNodes) {
      index = next_node_++;
    }
    if (index != 0) {
      most_ = std::max(most_, ++live_);
      generation = next_generation_++;
    }
  }
  if (index == 0) {
    DropName(*name_ref);
    return Fail(ENFILE, "node table");
  }
  return With(index, [&](NodeRecord& record) {
    record = fields;
    record.generation = generation;
    record.name = *name_ref;
    record.Set(kNodeLive);
    return WeakNode{index, generation};
  });
}

NodeView NodeTable::View(NodeIndex index) {
  return With(index, [&](NodeRecord& record) {
    NodeView view;
    static_cast<NodeRecord&>(view) = record;
    view.name_text = NameOf(record);
    return view;
  });
}

bool NodeTable::TryLookup(WeakNode weak) {
  if (weak.index == 0) return false;
  return With(weak.index, [&](NodeRecord& record) {
    if (record.generation != weak.generation || !record.Is(kNodeLive) || record.Is(kNodeDying)) {
      return false;
    }
    ++record.lookups;
    return true;
  });
}

bool NodeTable::TryPin(WeakNode weak) {
  if (weak.index == 0) return false;
  return With(weak.index, [&](NodeRecord& record) {
    if (record.generation != weak.generation || !record.Is(kNodeLive) || record.Is(kNodeDying)) {
      return false;
    }
    ++record.refs;
    return true;
  });
}

void NodeTable::Pin(NodeIndex index) {
  With(index, [](NodeRecord& record) { ++record.refs; });
}

void NodeTable::Rename(NodeIndex index, NodeIndex parent, std::string_view name) {
  auto ref = AddName(name);
  const std::uint32_t old = With(index, [&](NodeRecord& record) {
    const std::uint32_t previous = record.name;
    record.parent = parent;
    // The name fitted before and names are at most 255 bytes: only an exhausted heap gets here
    // without one.
    record.name = ref ? *ref : 0;
    return previous;
  });
  DropName(old);
}

bool NodeTable::Release(NodeIndex index, std::uint64_t lookups, std::uint32_t refs,
                        NodeRecord* last) {
  return With(index, [&](NodeRecord& record) {
    assert(record.lookups >= lookups && record.refs >= refs);
    record.lookups -= lookups;
    record.refs -= refs;
    if (record.lookups != 0 || record.refs != 0 || record.Is(kNodeDying)) return false;
    record.Set(kNodeDying);
    *last = record;
    return true;
  });
}

void NodeTable::Free(NodeIndex index) {
  const std::uint32_t name = With(index, [](NodeRecord& record) {
    const std::uint32_t ref = record.name;
    record = NodeRecord{};
    return ref;
  });
  DropName(name);
  {
    MutexLock lock(free_mu_);
    free_nodes_.push_back(index);
    --live_;
    const bool many = most_ >= kWorthTrimming && live_ < most_ / kTrimShare;
    const bool all_but_root = live_ == 1 && next_node_ > kWorthTrimming;
    if (!many && !all_but_root) return;
    Trim();
  }
  // What went with the nodes: directories, their tables of names.
  ::malloc_trim(0);
}

void NodeTable::Trim() {
  TrimNodes();
  TrimNames();
  most_ = live_;
}

void NodeTable::TrimNodes() {
  // The lowest is used first.
  std::ranges::sort(free_nodes_, std::greater());
  const NodeIndex end = next_node_;
  std::size_t beyond = 0;
  while (beyond < free_nodes_.size() && free_nodes_[beyond] + 1 == next_node_) {
    --next_node_;
    ++beyond;
  }
  GiveBack(next_node_ * sizeof(NodeRecord), end * sizeof(NodeRecord));
  free_nodes_.erase(free_nodes_.begin(), free_nodes_.begin() + static_cast<std::ptrdiff_t>(beyond));
  free_nodes_.shrink_to_fit();
  for (std::size_t i = 0; i < free_nodes_.size();) {
    const NodeIndex last = free_nodes_[i];
    NodeIndex first = last;
    while (++i < free_nodes_.size() && free_nodes_[i] + 1 == first) --first;
    GiveBack(first * sizeof(NodeRecord), (last + 1) * sizeof(NodeRecord));
  }
}

void NodeTable::TrimNames() {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> runs;  // first and end, in units
  for (std::uint32_t units = 1; units <= kNameClasses; ++units) {
    for (const std::uint32_t ref : free_names_[units - 1]) runs.emplace_back(ref, ref + units);
  }
  std::ranges::sort(runs);
  std::size_t merged = 0;
  for (std::size_t i = 1; i < runs.size(); ++i) {
    if (runs[i].first == runs[merged].second) {
      runs[merged].second = runs[i].second;
    } else {
      runs[++merged] = runs[i];
    }
  }
  if (!runs.empty()) runs.resize(merged + 1);
  for (const auto& [first, end] : runs) {
    GiveBack(kNodeBytes + first * kNameUnit, kNodeBytes + end * kNameUnit);
  }
  if (runs.empty() || runs.back().second != next_name_) return;
  next_name_ = runs.back().first;
  for (auto& free : free_names_) {
    std::erase_if(free,
                  [&](std::uint32_t ref) STRATA_REQUIRES(free_mu_) { return ref >= next_name_; });
    free.shrink_to_fit();
  }
}

void NodeTable::GiveBack(std::size_t start, std::size_t end) {
  start = (start + kPage - 1) / kPage * kPage;
  end = end / kPage * kPage;
  if (start >= end) return;
  if (::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(start), static_cast<off_t>(end - start)) != 0) {
    Ignore(FailErrno("fallocate", "node table"), "memory of free nodes");
  }
}

std::uint64_t NodeTable::bytes() const {
  struct stat st{};
  if (::fstat(memory_.get(), &st) != 0) return 0;
  return static_cast<std::uint64_t>(st.st_blocks) * 512;
}

std::uint64_t NodeTable::live() const {
  MutexLock lock(free_mu_);
  return live_;
}

}  // namespace strata::fusefs
