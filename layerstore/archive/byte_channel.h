// Bounded queues of byte buffers between the stages of a pipeline.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string_view>

#include "base/mutex.h"

namespace strata::layerstore {

// A buffer that is filled once and handed on. Move-only.
class Chunk {
 public:
  Chunk() = default;
  explicit Chunk(std::size_t capacity)
      : data_(std::make_unique_for_overwrite<char[]>(capacity)), capacity_(capacity) {}

  char* data() { return data_.get(); }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  std::size_t room() const { return capacity_ - size_; }
  void set_size(std::size_t size) { size_ = size; }
  std::string_view view() const { return {data_.get(), size_}; }
  // Takes as much of `data` as there is room for and returns how much that was.
  std::size_t Append(std::string_view data);

 private:
  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0;
  std::size_t size_ = 0;
};

// A filled one, in as many channels as want it.
using SharedChunk = std::shared_ptr<const Chunk>;

// One writer, one reader, at most `capacity` chunks in between. Thread-safe for those two.
class ByteChannel {
 public:
  explicit ByteChannel(std::size_t capacity) : capacity_(capacity) {}

  // Waits for room; false, and the chunk is dropped, once the reader has given up.
  bool Push(SharedChunk chunk);
  // No more will come.
  void CloseWriter();

  // Waits for data; null once the writer is done and all is read.
  SharedChunk Pop();
  // Nothing more is wanted: Push() fails from now on.
  void CloseReader();

  struct Waited {
    std::chrono::nanoseconds for_room = {};  // the writer
    std::chrono::nanoseconds for_data = {};  // the reader
  };
  Waited waited() const;

 private:
  const std::size_t capacity_;
  mutable Mutex mu_;  // rank: leaf
  CondVar changed_;
  std::deque<SharedChunk> chunks_ STRATA_GUARDED_BY(mu_);
  Waited waited_ STRATA_GUARDED_BY(mu_);
  bool writer_closed_ STRATA_GUARDED_BY(mu_) = false;
  bool reader_closed_ STRATA_GUARDED_BY(mu_) = false;
};

}  // namespace strata::layerstore
