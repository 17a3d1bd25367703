#include "layerstore/archive/byte_channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace strata::layerstore {

using Clock = std::chrono::steady_clock;

std::size_t Chunk::Append(std::string_view data) {
  const std::size_t taken = std::min(room(), data.size());
  if (taken > 0) std::memcpy(data_.get() + size_, data.data(), taken);
  size_ += taken;
  return taken;
}

bool ByteChannel::Push(SharedChunk chunk) {
  MutexLock lock(mu_);
  const auto may_go_on = [&]() STRATA_REQUIRES(mu_) {
    return chunks_.size() < capacity_ || reader_closed_;
  };
  if (!may_go_on()) {
    const auto begin = Clock::now();
    changed_.Wait(mu_, may_go_on);
    waited_.for_room += Clock::now() - begin;
  }
  if (reader_closed_) return false;
  chunks_.push_back(std::move(chunk));
  changed_.NotifyAll();
  return true;
}

void ByteChannel::CloseWriter() {
  MutexLock lock(mu_);
  writer_closed_ = true;
  changed_.NotifyAll();
}

SharedChunk ByteChannel::Pop() {
  MutexLock lock(mu_);
  const auto may_go_on = [&]() STRATA_REQUIRES(mu_) { return !chunks_.empty() || writer_closed_; };
  if (!may_go_on()) {
    const auto begin = Clock::now();
    changed_.Wait(mu_, may_go_on);
    waited_.for_data += Clock::now() - begin;
  }
  if (chunks_.empty()) return nullptr;
  SharedChunk chunk = std::move(chunks_.front());
  chunks_.pop_front();
  changed_.NotifyAll();
  return chunk;
}

void ByteChannel::CloseReader() {
  MutexLock lock(mu_);
  reader_closed_ = true;
  chunks_.clear();
  changed_.NotifyAll();
}

ByteChannel::Waited ByteChannel::waited() const {
  MutexLock lock(mu_);
  return waited_;
}

}  // namespace strata::layerstore
