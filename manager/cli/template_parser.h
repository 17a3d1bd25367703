// From a --format template's text to its tree. Internal to template.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

// Something with a value. `fields` are looked up in it afterwards, whatever it is.
struct TemplateExpr {
  enum class Kind { kLiteral, kDot, kVariable, kCall };
  Kind kind = Kind::kDot;
  Json literal;
  std::string name;  // of the variable ("" is $, the root) or function
  std::vector<TemplateExpr> arguments;
  std::vector<std::string> fields;
};

struct TemplateNode {
  enum class Kind { kText, kValue, kAssign, kIf, kWith, kRange };
  Kind kind = Kind::kText;
  std::string text;
  TemplateExpr expr;
  std::vector<std::string> variables;  // kAssign, kRange
  std::vector<TemplateNode> body;
  std::vector<TemplateNode> otherwise;
};

Result<std::vector<TemplateNode>> ParseTemplate(std::string_view text);

}  // namespace strata::manager::cli
