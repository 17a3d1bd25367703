#include "manager/api/body_stream.h"

#include <cstddef>
#include <string>
#include <utility>

#include "base/try.h"

namespace strata::manager {
namespace {

// Small pieces are sent together.
constexpr std::size_t kHeld = std::size_t{64} * 1024;

}  // namespace

Result<> StreamBody(Exchange& exchange, std::string_view content_type,
                    const std::function<Result<>(const BodySink&)>& write) {
  std::string held;
  bool begun = false;
  const auto send = [&](std::string_view data) -> Result<> {
    if (!begun) STRATA_TRY(exchange.Begin(200, content_type));
    begun = true;
    return exchange.Send(data);
  };
  STRATA_TRY(write([&](std::string_view piece) -> Result<> {
    if (held.empty() && piece.size() >= kHeld) return send(piece);
    held.append(piece);
    if (held.size() < kHeld) return {};
    const std::string data = std::exchange(held, {});
    return send(data);
  }));
  return send(held);
}

}  // namespace strata::manager
