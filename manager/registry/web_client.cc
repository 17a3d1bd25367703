#include "manager/registry/web_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "base/try.h"
#include "manager/registry/url.h"

namespace strata::manager {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kReceiveBuffer = 256 * 1024;
constexpr std::size_t kHeaderLimit = 256 * 1024;  // all header lines of one answer

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
using EasyHandle = std::unique_ptr<CURL, EasyDeleter>;

struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, ListDeleter>;

bool SameName(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// A header value must not be able to start another header.
Result<> AppendHeader(HeaderList& list, std::string_view name, std::string_view value) {
  std::string line = std::string(name) + ":";
  if (!value.empty()) line += " " + std::string(value);
  if (std::ranges::any_of(line, [](char c) { return c == '\r' || c == '\n' || c == '\0'; })) {
    return Fail(EINVAL, "send request", "header " + std::string(name) + " has a control character");
  }
  curl_slist* const grown = curl_slist_append(list.get(), line.c_str());
  if (grown == nullptr) return Fail(ENOMEM, "send request");
  static_cast<void>(list.release());  // owned by `grown` now
  list.reset(grown);
  return {};
}

int ErrnoOf(CURLcode code, long os_errno) {
  switch (code) {
    case CURLE_OUT_OF_MEMORY:
      return ENOMEM;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT:
      return os_errno > 0 ? static_cast<int>(os_errno) : ECONNREFUSED;
    case CURLE_OPERATION_TIMEDOUT:
      return ETIMEDOUT;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return ECONNRESET;
    default:
      return EPROTO;
  }
}

// Everything one transfer's callbacks need. Lives on the stack of Transfer().
struct Exchange {
  const WebRequest& request;
  const Cancellation* cancel;
  std::chrono::milliseconds stall_timeout;
  std::uint64_t stall_bytes;
  CURL* easy;
  WebResponse response{};
  std::optional<Error> failure{};  // what a callback wants returned instead of curl's own error
  std::size_t header_bytes = 0;
  std::uint64_t sent = 0;
  std::uint64_t moved = 0;         // bytes in both directions
  std::uint64_t window_moved = 0;  // `moved` at the start of the window
  Clock::time_point window_start = Clock::now();

  int Status() const {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return static_cast<int>(status);
  }

  // The time a callback took is not the network's fault.
  void Excuse(Clock::time_point since) { window_start += Clock::now() - since; }
};

std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(data, size * count);
  exchange.header_bytes += line.size();
  exchange.moved += line.size();
  if (exchange.header_bytes > kHeaderLimit) {
    exchange.failure.emplace(EFBIG, "receive headers");
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // a new answer: after 100 Continue or a proxy's CONNECT
    exchange.response.headers.clear();
    return line.size();
  }
  const std::size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    exchange.response.headers.push_back(
        {std::string(Trim(line.substr(0, colon))), std::string(Trim(line.substr(colon + 1)))});
  }
  return line.size();
}

std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view piece(data, size * count);
  exchange.moved += piece.size();
  exchange.response.status = exchange.Status();
  if (exchange.request.sink && exchange.response.ok()) {
    const Clock::time_point start = Clock::now();
    Result<> taken = exchange.request.sink(exchange.response, piece);
    exchange.Excuse(start);
    if (!taken) {
      exchange.failure.emplace(std::move(taken).error());
      return 0;
    }
    return piece.size();
  }
  if (exchange.response.body.size() + piece.size() > exchange.request.body_limit) {
    exchange.failure.emplace(
        EFBIG, "receive body",
        "answer is larger than " + std::to_string(exchange.request.body_limit) + " bytes");
    return 0;
  }
  exchange.response.body += piece;
  return piece.size();
}

std::size_t OnRead(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const WebUpload& upload = *exchange.request.upload;
  const auto want = static_cast<std::size_t>(
      std::min<std::uint64_t>(size * count, upload.length - exchange.sent));
  if (want == 0) return 0;
  const Clock::time_point start = Clock::now();
  Result<std::size_t> got =
      upload.read(exchange.sent, std::span(reinterpret_cast<std::byte*>(data), want));
  exchange.Excuse(start);
  if (!got || *got == 0) {
    exchange.failure.emplace(got ? Error(EIO, "read upload", "source ended early")
                                 : std::move(got).error());
    return CURL_READFUNC_ABORT;
  }
  exchange.sent += *got;
  exchange.moved += *got;
  return *got;
}

int OnSeek(void* user, curl_off_t offset, int origin) {
  auto& exchange = *static_cast<Exchange*>(user);
  if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_CANTSEEK;
  exchange.sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(user);
  if (exchange.cancel != nullptr && exchange.cancel->canceled()) {
    exchange.failure.emplace(ECANCELED, "transfer");
    return 1;
  }
  const Clock::time_point now = Clock::now();
  if (now - exchange.window_start < exchange.stall_timeout) return 0;
  if (exchange.moved - exchange.window_moved < exchange.stall_bytes) {
    exchange.failure.emplace(
        ETIMEDOUT, "transfer",
        "no answer worth the name for " +
            std::to_string(
                std::chrono::duration_cast<std::chrono::seconds>(exchange.stall_timeout).count()) +
            " s");
    return 1;
  }
  exchange.window_start = now;
  exchange.window_moved = exchange.moved;
  return 0;
}

void SetMethod(CURL* easy, Exchange& exchange) {
  const WebRequest& request = exchange.request;
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.upload) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &OnRead);
    curl_easy_setopt(easy, CURLOPT_READDATA, &exchange);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &OnSeek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &exchange);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
                     static_cast<curl_off_t>(request.upload->length));
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

Result<HeaderList> MakeHeaders(const WebRequest& request, bool with_authorization) {
  HeaderList list;
  STRATA_TRY(AppendHeader(list, "Expect", ""));  // no waiting for 100 Continue
  bool typed = false;
  for (const WebHeader& header : request.headers) {
    typed = typed || SameName(header.name, "Content-Type");
    STRATA_TRY(AppendHeader(list, header.name, header.value));
  }
  if (!typed) STRATA_TRY(AppendHeader(list, "Content-Type", ""));  // else curl makes one up
  if (with_authorization && !request.authorization.empty()) {
    STRATA_TRY(AppendHeader(list, "Authorization", request.authorization));
  }
  return list;
}

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::string_view WebResponse::Header(std::string_view name) const {
  const auto it = std::ranges::find_if(
      headers, [&](const WebHeader& header) { return SameName(header.name, name); });
  return it == headers.end() ? std::string_view() : std::string_view(it->value);
}

std::vector<std::string_view> WebResponse::Headers(std::string_view name) const {
  std::vector<std::string_view> result;
  for (const WebHeader& header : headers) {
    if (SameName(header.name, name)) result.emplace_back(header.value);
  }
  return result;
}

class WebClient::Impl {
 public:
  Impl(WebOptions options, const Cancellation* cancel)
      : options_(std::move(options)), cancel_(cancel) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  }

  Result<WebResponse> Perform(const WebRequest& request);
  bool Insecure(const UrlOrigin& origin) const;
  bool PlainHttpAllowed(const UrlOrigin& origin) const {
    return IsLoopbackHost(origin.host) || Insecure(origin);
  }

 private:
  // Returns a curl handle to the pool.
  class Lease {
   public:
    explicit Lease(Impl& impl) : impl_(impl), easy_(impl.Take()) {}
    ~Lease() {
      if (easy_) impl_.Return(std::move(easy_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    CURL* get() const { return easy_.get(); }

   private:
    Impl& impl_;
    EasyHandle easy_;
  };

  EasyHandle Take() {
    const MutexLock lock(mu_);
    if (idle_.empty()) return EasyHandle(curl_easy_init());
    EasyHandle easy = std::move(idle_.back());
    idle_.pop_back();
    return easy;
  }
  void Return(EasyHandle easy) {
    curl_easy_reset(easy.get());  // keeps connections, forgets options
    const MutexLock lock(mu_);
    idle_.push_back(std::move(easy));
  }

  Result<WebResponse> Transfer(const WebRequest& request, const std::string& url,
                               const UrlOrigin& origin, bool with_authorization);
  void SetOptions(CURL* easy, const WebRequest& request, const std::string& url,
                  const UrlOrigin& origin) const;

  const WebOptions options_;
  const Cancellation* const cancel_;
  Mutex mu_;  // leaf: nothing is locked under it
  std::vector<EasyHandle> idle_ STRATA_GUARDED_BY(mu_);
};

bool WebClient::Impl::Insecure(const UrlOrigin& origin) const {
  return std::ranges::any_of(options_.insecure_hosts, [&](const std::string& host) {
    return host == origin.host || host == origin.host + ":" + std::to_string(origin.port) ||
           host == origin.Authority();
  });
}

void WebClient::Impl::SetOptions(CURL* easy, const WebRequest& request, const std::string& url,
                                 const UrlOrigin& origin) const {
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options_.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (Insecure(origin)) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!options_.ca_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  }
}

Result<WebResponse> WebClient::Impl::Transfer(const WebRequest& request, const std::string& url,
                                              const UrlOrigin& origin, bool with_authorization) {
  const Lease lease(*this);
  CURL* const easy = lease.get();
  if (easy == nullptr) return Fail(ENOMEM, "start transfer");

  Exchange exchange{.request = request,
                    .cancel = cancel_,
                    .stall_timeout = request.stall_timeout.count() > 0 ? request.stall_timeout
                                                                       : options_.stall_timeout,
                    .stall_bytes = options_.stall_bytes,
                    .easy = easy};
  exchange.response.url = url;
  std::array<char, CURL_ERROR_SIZE> message{};

  STRATA_TRY_ASSIGN(const HeaderList headers, MakeHeaders(request, with_authorization));
  SetOptions(easy, request, url, origin);
  SetMethod(easy, exchange);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, message.data());
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &OnProgress);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &exchange);

  const CURLcode code = curl_easy_perform(easy);
  if (exchange.failure) return std::unexpected(std::move(*exchange.failure));
  if (code != CURLE_OK) {
    long os_errno = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);
    const std::string_view text(message.data());
    return Fail(ErrnoOf(code, os_errno), request.method == "HEAD" ? "HEAD" : "transfer",
                std::string(text.empty() ? std::string_view(curl_easy_strerror(code)) : text));
  }
  exchange.response.status = exchange.Status();
  return std::move(exchange.response);
}

Result<WebResponse> WebClient::Impl::Perform(const WebRequest& request) {
  std::string url = request.url;
  STRATA_TRY_ASSIGN(const UrlOrigin first, ParseOrigin(url));
  bool with_authorization = true;
  for (int hop = 0;; ++hop) {
    if (cancel_ != nullptr) STRATA_TRY(cancel_->Check());
    STRATA_TRY_ASSIGN(const UrlOrigin origin, ParseOrigin(url));
    if (origin.scheme == "http" && !PlainHttpAllowed(origin)) {
      return Fail(EACCES, "plain http",
                  origin.Authority() + ": plain http is for loopback and insecure registries only");
    }
    // Once elsewhere, a redirect back does not bring the credentials back.
    with_authorization = with_authorization && origin == first;
    auto response = Transfer(request, url, origin, with_authorization);
    if (!response)
      return std::unexpected(std::move(response.error()).WithContext(origin.Authority()));
    if (!IsRedirect(response->status) || !request.use_redirects) return response;
    const std::string_view location = response->Header("Location");
    // RFC 9110 §15.4: 301, 302 and 303 may turn a POST into a GET; no registry means that.
    const bool may_repeat =
        request.method == "GET" || request.method == "HEAD" || response->status >= 307;
    if (location.empty() || !may_repeat) return response;
    if (hop == options_.redirect_limit) {
      return Fail(ELOOP, "redirect", origin.Authority() + ": too many redirects");
    }
    auto next = ResolveUrl(url, std::string(location));
    if (!next) return std::unexpected(std::move(next.error()).WithContext(origin.Authority()));
    url = *std::move(next);
  }
}

WebClient::WebClient(WebOptions options, const Cancellation* cancel)
    : impl_(std::make_unique<Impl>(std::move(options), cancel)) {}
WebClient::~WebClient() = default;

Result<WebResponse> WebClient::Perform(const WebRequest& request) {
  return impl_->Perform(request);
}

bool WebClient::PlainHttpAllowed(std::string_view url) const {
  const auto origin = ParseOrigin(url);
  return origin && impl_->PlainHttpAllowed(*origin);
}

}  // namespace strata::manager
