#include "base/error.h"

#include <system_error>

#include "base/logging.h"

namespace strata {

Error&& Error::WithContext(std::string_view what) && {
  std::string text(what);
  if (detail_) text.append(": ").append(*detail_);
  detail_ = std::make_unique<std::string>(std::move(text));
  return std::move(*this);
}

std::string Error::ToString() const {
  std::string text;
  if (detail_) text = *detail_;
  if (op_[0] != '\0') {
    if (!text.empty()) text += ": ";
    text += op_;
  }
  if (!text.empty()) text += ": ";
  text += std::generic_category().message(code_);
  return text;
}

void Ignore(const Result<>& result, std::string_view why) {
  if (!result) log::Debug("ignored failure", {{"why", why}, {"error", result.error().ToString()}});
}

}  // namespace strata
