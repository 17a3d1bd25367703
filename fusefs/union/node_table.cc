#include "fusefs/union/node_table.h"

#include <sys/mman.h>

#include <cassert>
#include <cstring>

namespace strata::fusefs {
namespace {

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
  {
    MutexLock lock(free_mu_);
    if (!free_nodes_.empty()) {
      index = free_nodes_.back();
      free_nodes_.pop_back();
    } else if (next_node_ < kMaxNodes) {
      index = next_node_++;
    }
    if (index != 0) ++live_;
  }
  if (index == 0) {
    DropName(*name_ref);
    return Fail(ENFILE, "node table");
  }
  return With(index, [&](NodeRecord& record) {
    const std::uint32_t generation = record.generation;
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
    const std::uint32_t generation = record.generation + 1;
    record = NodeRecord{};
    record.generation = generation;
    return ref;
  });
  DropName(name);
  MutexLock lock(free_mu_);
  free_nodes_.push_back(index);
  --live_;
}

std::uint64_t NodeTable::live() const {
  MutexLock lock(free_mu_);
  return live_;
}

}  // namespace strata::fusefs
