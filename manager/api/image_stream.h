// docker's progress streams: one JSON object a line, an error as the last of them once the answer
// has begun. Include from .cc files only.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/cancellation.h"
#include "base/error.h"
#include "manager/api/exchange.h"
#include "manager/image/progress.h"

namespace strata::manager {

// Begins the answer with the first object. A client that hangs up cancels the work.
class ImageStream {
 public:
  explicit ImageStream(Exchange& exchange) : exchange_(exchange) {}

  ProgressSink progress();
  Cancellation* cancel() { return &cancel_; }
  void Status(const std::string& text) { Object({{"status", text}}); }
  void Object(const nlohmann::json& object);
  bool begun() const { return begun_; }

 private:
  Exchange& exchange_;
  Cancellation cancel_;
  bool begun_ = false;
};

// Runs `work`; an error before the stream began is an ordinary error reply.
Result<> StreamImageWork(Exchange& exchange, const std::function<Result<>(ImageStream&)>& work);

// The same for work that may have nothing to say for long: a client that hangs up, or a daemon that
// stops, cancels it at once. The client must have sent its whole request.
Result<> StreamSilentImageWork(Exchange& exchange,
                               const std::function<Result<>(ImageStream&)>& work);

}  // namespace strata::manager
