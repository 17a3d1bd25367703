#include "manager/api/image_stream.h"

#include <array>
#include <chrono>
#include <thread>

#include "base/try.h"
#include "manager/api/replies.h"
#include "manager/container/error_text.h"
#include "manager/container/notifier.h"

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
    const std::string message = ErrorText(done.error());
    const json object{{"errorDetail", {{"message", message}}}, {"error", message}};
    // Canceled work ends with its error, too: the client may still be there.
    Ignore(exchange.Send(Dump(object) + "\r\n"), "a client that hung up is not told");
  } else if (!stream.begun()) {
    return exchange.Begin(200, "application/json");
  }
  return {};
}

Result<> StreamSilentImageWork(Exchange& exchange,
                               const std::function<Result<>(ImageStream&)>& work) {
  STRATA_TRY_ASSIGN(const Notifier done, Notifier::Create());
  return StreamImageWork(exchange, [&](ImageStream& stream) {
    const std::jthread watch([&] {
      const std::array fds{done.fd()};
      if (!exchange.AwaitReadable(fds, std::chrono::milliseconds(-1))) stream.cancel()->Cancel();
    });
    auto result = work(stream);
    done.Signal();
    return result;
  });
}

}  // namespace strata::manager
