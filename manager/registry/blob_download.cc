#include "manager/registry/blob_download.h"

#include <algorithm>
#include <charconv>

#include "base/logging.h"
#include "base/try.h"

namespace strata::manager {
namespace {

// The first byte's position in "bytes 100-199/200".
Result<std::uint64_t> RangeStart(std::string_view content_range) {
  constexpr std::string_view kUnit = "bytes ";
  std::uint64_t start = 0;
  if (content_range.starts_with(kUnit)) {
    content_range.remove_prefix(kUnit.size());
    const auto [end, error] =
        std::from_chars(content_range.data(), content_range.data() + content_range.size(), start);
    if (error == std::errc() && end != content_range.data() + content_range.size() && *end == '-') {
      return start;
    }
  }
  return Fail(EPROTO, "get blob", "partial content without a usable Content-Range");
}

// The state of one download across its connections.
class Download {
 public:
  Download(std::uint64_t size, const std::function<Result<>(std::string_view)>& on_piece)
      : size_(size), on_piece_(on_piece) {}

  std::uint64_t received() const { return received_; }
  bool complete() const { return received_ == size_; }
  // The consumer or the content is at fault: another connection would not help.
  bool hopeless() const { return hopeless_; }

  void BeginConnection() {
    skip_ = 0;
    started_ = false;
  }

  Result<> Take(const WebResponse& head, std::string_view piece) {
    if (!started_) {
      started_ = true;
      std::uint64_t start = 0;
      if (head.status == 206) {
        auto parsed = RangeStart(head.Header("Content-Range"));
        if (!parsed) return GiveUp(std::move(parsed.error()));
        start = *parsed;
      }
      if (start > received_) {
        return GiveUp(Error(EPROTO, "get blob", "the registry sent another range than asked for"));
      }
      skip_ = received_ - start;
    }
    const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, piece.size()));
    skip_ -= skipped;
    piece.remove_prefix(skipped);
    if (piece.empty()) return {};
    if (piece.size() > size_ - received_) {
      return GiveUp(Error(EBADMSG, "get blob",
                          "the content is longer than the " + std::to_string(size_) +
                              " bytes the manifest promises"));
    }
    Result<> taken = on_piece_(piece);
    if (!taken) return GiveUp(std::move(taken).error());
    received_ += piece.size();
    return {};
  }

 private:
  std::unexpected<Error> GiveUp(Error error) {
    hopeless_ = true;
    return std::unexpected(std::move(error));
  }

  const std::uint64_t size_;
  const std::function<Result<>(std::string_view)>& on_piece_;
  std::uint64_t received_ = 0;
  std::uint64_t skip_ = 0;
  bool started_ = false;
  bool hopeless_ = false;
};

bool WorthAnotherTry(const Error& error) {
  return IsTransient(error) || error.code() == ETIMEDOUT || error.code() == EREMOTEIO ||
         error.code() == EBUSY;
}

// Of a response that came whole. With its length in front nothing was cut off, and the registry has
// no more.
Error TooShort(const WebResponse& response, const Download& download, std::uint64_t size) {
  const bool cut_off = response.Header("Content-Length").empty();
  return {cut_off ? ECONNRESET : EBADMSG, "get blob",
          "the content ended after " + std::to_string(download.received()) + " of " +
              std::to_string(size) + " bytes" + (cut_off ? "" : " the manifest promises")};
}

}  // namespace

Result<> DownloadBlob(RegistrySession& session, const RegistryPurpose& purpose,
                      const std::string& url, std::uint64_t size,
                      const std::function<Result<>(std::string_view)>& on_piece) {
  Download download(size, on_piece);
  WebRequest request;
  request.url = url;
  request.sink = [&](const WebResponse& head, std::string_view piece) {
    return download.Take(head, piece);
  };
  int fruitless = 0;
  for (int connection = 1;; ++connection) {
    const std::uint64_t before = download.received();
    request.headers.clear();
    if (before > 0) {
      request.headers.push_back({"Range", "bytes=" + std::to_string(before) + "-"});
    }
    download.BeginConnection();
    auto response = session.Expect(purpose, session.Send(purpose, request), {200, 206});
    if (response && download.complete()) return {};
    Error error = response ? session.Explain(purpose, TooShort(*response, download, size))
                           : std::move(response.error());
    const bool progressed = download.received() > before;
    fruitless = progressed ? 0 : fruitless + 1;
    // A registry silent from the first byte on is not asked five times.
    const bool silent = error.code() == ETIMEDOUT && !progressed;
    if (download.hopeless() || silent || !WorthAnotherTry(error) || fruitless >= kBlobAttempts ||
        connection >= kBlobConnections) {
      return std::unexpected(std::move(error));
    }
    log::Info("blob download is resumed", {{"registry", session.registry()},
                                           {"request", purpose.what},
                                           {"offset", download.received()},
                                           {"after", error.ToString()}});
    STRATA_TRY(session.Pause(fruitless + 1));
  }
}

}  // namespace strata::manager
