// The part of Go's text/template that users of `--format` write: fields, pipelines, if/else, with,
// range, variables, comments, white-space trimming, and docker's functions. Values are JSON and
// print as Go prints them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

// A parsed template. Immutable, thread-safe.
class Template {
 public:
  // EINVAL with what is wrong and where in the detail. `\t` and `\n` typed as two characters
  // outside of the actions are what they stand for.
  static Result<Template> Parse(std::string_view text);

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // EINVAL for a field that the value does not have, or a function that does not fit its argument.
  Result<std::string> Render(const Json& value) const;

  struct Node;  // template.cc
 private:
  explicit Template(std::unique_ptr<Node> root);
  std::unique_ptr<Node> root_;
};

}  // namespace strata::manager::cli
