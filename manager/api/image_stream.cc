#include "manager/api/image_stream.h"

#include "base/try.h"
#include "manager/api/replies.h"

namespace strata::manager {
namespace {

using nlohmann::json;

json ToJson(const ProgressEvent& event) {
  if (event.pushed) {
    return {{"progressDetail", json::object()},
            {"aux",
             {{"Tag", event.pushed->tag},
              {"Digest", event.pushed->digest.ToString()},
              {"Size", event.pushed->size}}}};
  }
  json object{{"status", event.status}};
  if (!event.id.empty()) {
    object["id"] = event.id;
    object["progressDetail"] = json::object();
  }
  if (event.detail) {
    object["progressDetail"] = {{"current", event.detail->current}};
    if (event.detail->total > 0) object["progressDetail"]["total"] = event.detail->total;
  }
  return object;
}

}  // namespace

ProgressSink ImageStream::progress() {
  return [this](const ProgressEvent& event) { Object(ToJson(event)); };
}

void ImageStream::Object(const json& object) {
  if (cancel_.canceled()) return;
  Result<> sent;
  if (!begun_) {
    begun_ = true;
    sent = exchange_.Begin(200, "application/json");
  }
  if (sent) sent = exchange_.Send(Dump(object) + "\r\n");
  if (!sent) cancel_.Cancel();
}

Result<> StreamImageWork(Exchange& exchange, const std::function<Result<>(ImageStream&)>& work) {
  ImageStream stream(exchange);
  auto done = work(stream);
  if (!done) {
    if (!stream.begun()) return done;
    const std::string message = MessageOf(done.error());
    stream.Object({{"errorDetail", {{"message", message}}}, {"error", message}});
  } else if (!stream.begun()) {
    return exchange.Begin(200, "application/json");
  }
  return {};
}

}  // namespace strata::manager
