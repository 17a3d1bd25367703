#include "manager/cli/template.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/try.h"
#include "manager/cli/flags.h"
#include "manager/cli/template_functions.h"
#include "manager/cli/template_parser.h"

namespace strata::manager::cli {
namespace {

// One rendering: the current value ("dot") and the variables in scope.
class Renderer {
 public:
  explicit Renderer(const Json& root) : root_(root), dot_(&root) {}

  Result<> Run(const std::vector<TemplateNode>& nodes) {
    const std::size_t scope = variables_.size();
    for (const TemplateNode& node : nodes) STRATA_TRY(One(node));
    variables_.resize(scope);
    return {};
  }

  std::string text;

 private:
  Result<> One(const TemplateNode& node) {
    using Kind = TemplateNode::Kind;
    if (node.kind == Kind::kText) {
      text += node.text;
      return {};
    }
    STRATA_TRY_ASSIGN(const Json value, Evaluate(node.expr));
    switch (node.kind) {
      case Kind::kValue:
        text += GoText(value);
        return {};
      case Kind::kAssign:
        variables_.emplace_back(node.variables.front(), value);
        return {};
      case Kind::kIf:
        return Run(GoTruth(value) ? node.body : node.otherwise);
      case Kind::kWith:
        return GoTruth(value) ? WithDot(value, node.body) : Run(node.otherwise);
      case Kind::kRange:
        return Range(node, value);
      case Kind::kText:
        break;
    }
    return {};
  }

  Result<> WithDot(const Json& value, const std::vector<TemplateNode>& body) {
    const Json* outer = std::exchange(dot_, &value);
    auto result = Run(body);
    dot_ = outer;
    return result;
  }

  Result<> Range(const TemplateNode& node, const Json& value) {
    if (value.is_primitive() && !value.is_null()) {
      return UsageError("template: range over '" + GoText(value) + "', which is no list");
    }
    if (value.empty()) return Run(node.otherwise);
    std::vector<std::pair<Json, const Json*>> items;
    if (value.is_object()) {
      std::map<std::string, const Json*> sorted;  // as Go ranges over a map
      for (const auto& [key, item] : value.items()) sorted.emplace(key, &item);
      for (const auto& [key, item] : sorted) items.emplace_back(key, item);
    } else {
      for (std::size_t i = 0; i < value.size(); ++i) items.emplace_back(i, &value[i]);
    }
    for (const auto& [key, item] : items) {
      const std::size_t scope = variables_.size();
      if (node.variables.size() == 2) variables_.emplace_back(node.variables.front(), key);
      if (!node.variables.empty()) variables_.emplace_back(node.variables.back(), *item);
      STRATA_TRY(WithDot(*item, node.body));
      variables_.resize(scope);
    }
    return {};
  }

  Result<Json> Evaluate(const TemplateExpr& expr) {
    STRATA_TRY_ASSIGN(Json value, Base(expr));
    for (const std::string& field : expr.fields) {
      const bool there = value.is_object() && value.contains(field);
      if (!there) return UsageError("template: there is no field '" + field + "'");
      Json next = value[field];
      value = std::move(next);
    }
    return value;
  }

  Result<Json> Base(const TemplateExpr& expr) {
    switch (expr.kind) {
      case TemplateExpr::Kind::kLiteral:
        return expr.literal;
      case TemplateExpr::Kind::kDot:
        return *dot_;
      case TemplateExpr::Kind::kVariable:
        return Variable(expr.name);
      case TemplateExpr::Kind::kCall:
        break;
    }
    std::vector<Json> arguments;
    for (const TemplateExpr& argument : expr.arguments) {
      STRATA_TRY_ASSIGN(Json value, Evaluate(argument));
      arguments.push_back(std::move(value));
    }
    return CallTemplateFunction(expr.name, arguments);
  }

  Result<Json> Variable(const std::string& name) {
    if (name.empty()) return root_;
    for (auto variable = variables_.rbegin(); variable != variables_.rend(); ++variable) {
      if (variable->first == name) return variable->second;
    }
    return UsageError("template: there is no variable '$" + name + "'");
  }

  const Json& root_;
  const Json* dot_;
  std::vector<std::pair<std::string, Json>> variables_;
};

}  // namespace

struct Template::Node {
  std::vector<TemplateNode> nodes;
};

Template::Template(std::unique_ptr<Node> root) : root_(std::move(root)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::Parse(std::string_view text) {
  STRATA_TRY_ASSIGN(auto nodes, ParseTemplate(text));
  return Template(std::make_unique<Node>(Node{std::move(nodes)}));
}

Result<std::string> Template::Render(const Json& value) const {
  Renderer renderer(value);
  STRATA_TRY(renderer.Run(root_->nodes));
  return std::move(renderer.text);
}

}  // namespace strata::manager::cli
