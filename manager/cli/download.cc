#include "manager/cli/download.h"

#include <unistd.h>

#include <utility>

#include "base/try.h"
#include "manager/cli/output_file.h"
#include "manager/cli/session.h"
#include "manager/cli/terminal.h"

namespace strata::manager::cli {

std::string RepeatedQuery(const char* name, const std::vector<std::string>& values) {
  std::string query;
  for (const std::string& value : values) {
    query += (query.empty() ? "?" : "&") + std::string(name) + "=" + PercentEncode(value);
  }
  return query;
}

std::string WithQuery(std::string target, std::string query) {
  if (query.empty()) return target;
  if (target.find('?') != std::string::npos) query[0] = '&';
  return target + query;
}

Result<> Receive(Context& context, const std::string& target,
                 const std::function<Result<>(std::string_view)>& take) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  HttpRequest request;
  request.target = target;
  STRATA_TRY_ASSIGN(HttpExchange answer, client->Start(request));
  std::vector<char> piece(256UL * 1024);
  for (;;) {
    STRATA_TRY_ASSIGN(const std::size_t got, answer.Read(piece));
    if (got == 0) return {};
    STRATA_TRY(take({piece.data(), got}));
  }
}

Result<> Download(Context& context, const std::string& target, const std::string& path) {
  if (!path.empty()) return ReceiveInto<OutputFile>(context, target, path);
  if (IsTerminal(STDOUT_FILENO)) {
    return UsageError("cowardly refusing to save to a terminal: use -o, or redirect the output");
  }
  return Receive(context, target, [](std::string_view data) -> Result<> {
    auto written = WriteFd(STDOUT_FILENO, data);
    if (written) return written;
    return std::unexpected(std::move(written).error().WithContext("standard output"));
  });
}

}  // namespace strata::manager::cli
