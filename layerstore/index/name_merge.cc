#include "layerstore/index/name_merge.h"

#include <algorithm>
#include <tuple>

#include "base/try.h"

namespace strata::layerstore {

Result<> NameMerge::Add(const MetadataIndex& index, MetadataIndex::Directory directory) {
  STRATA_TRY_ASSIGN(const MetadataIndex::Names names, index.List(directory));
  parts_.push_back(&index);
  return Push({{}, {parts_.size() - 1, names.first}, names.end()});
}

Result<std::span<const NameMerge::Found>> NameMerge::Next() {
  found_.clear();
  if (heap_.empty()) return found_;
  const std::string_view name = heap_.front().name;
  while (!heap_.empty() && heap_.front().name == name) {
    std::ranges::pop_heap(heap_, Later);
    Cursor cursor = heap_.back();
    heap_.pop_back();
    found_.push_back(cursor.at);
    ++cursor.at.number;
    STRATA_TRY(Push(cursor));
  }
  return found_;
}

bool NameMerge::Later(const Cursor& a, const Cursor& b) {
  return std::tie(a.name, a.at.part) > std::tie(b.name, b.at.part);
}

Result<> NameMerge::Push(Cursor cursor) {
  if (cursor.at.number == cursor.end) return {};
  STRATA_TRY_ASSIGN(const MetadataIndex::Entry entry,
                    parts_[cursor.at.part]->NameAt(cursor.at.number));
  cursor.name = entry.name;
  heap_.push_back(cursor);
  std::ranges::push_heap(heap_, Later);
  return {};
}

}  // namespace strata::layerstore
