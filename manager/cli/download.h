// Answers that are files, and queries that name several things.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "manager/cli/command.h"

namespace strata::manager::cli {

// "?names=a&names=b": one parameter several times; "" for none.
std::string RepeatedQuery(const char* name, const std::vector<std::string>& values);
// A target, which may have a query, with what Query() gives.
std::string WithQuery(std::string target, std::string query);

// Asks for it and gives the answer's bytes to `take`.
Result<> Receive(Context& context, const std::string& target,
                 const std::function<Result<>(std::string_view)>& take);

// Into an object with Create(), Write() and Commit(), for which the place is looked at first.
template <class Output>
Result<> ReceiveInto(Context& context, const std::string& target, const std::string& path) {
  auto output = Output::Create(path);
  if (!output) return std::unexpected(std::move(output).error());
  auto received =
      Receive(context, target, [&](std::string_view data) { return output->Write(data); });
  if (!received) return received;
  return output->Commit();
}

// Into the file that -o names, else to standard output, which must not be a terminal.
Result<> Download(Context& context, const std::string& target, const std::string& path);

}  // namespace strata::manager::cli
