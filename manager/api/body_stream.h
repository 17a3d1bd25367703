// Answers that are files: archives of images and of containers.
#pragma once

#include <functional>
#include <string_view>

#include "base/error.h"
#include "manager/api/exchange.h"

namespace strata::manager {

using BodySink = std::function<Result<>(std::string_view)>;

// Answers with the bytes that `write` gives, piece by piece. An error before much of it was given
// is an ordinary error reply; one that comes later ends the connection early.
Result<> StreamBody(Exchange& exchange, std::string_view content_type,
                    const std::function<Result<>(const BodySink&)>& write);

}  // namespace strata::manager
