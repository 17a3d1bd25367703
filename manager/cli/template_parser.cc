#include "manager/cli/template_parser.h"

#include <cctype>
#include <optional>

#include "base/try.h"
#include "manager/cli/flags.h"
#include "manager/cli/template_functions.h"

namespace strata::manager::cli {
namespace {

std::unexpected<Error> Bad(std::string_view what, std::string_view where) {
  constexpr std::size_t kShown = 30;
  return UsageError("template: " + std::string(what) + " at '" +
                    std::string(where.substr(0, kShown)) + "'");
}

bool WordChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool Space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

std::string_view TrimRight(std::string_view text) {
  while (!text.empty() && Space(text.back())) text.remove_suffix(1);
  return text;
}

// Reads the inside of one {{…}}.
class ActionParser {
 public:
  explicit ActionParser(std::string_view text) : text_(text) { SkipSpace(); }

  bool AtEnd() const { return text_.empty(); }
  std::string_view rest() const { return text_; }

  // A whole word, taken if it comes next.
  bool TakeWord(std::string_view word) {
    if (!text_.starts_with(word) || (text_.size() > word.size() && WordChar(text_[word.size()]))) {
      return false;
    }
    Advance(word.size());
    return true;
  }

  // "$a, $b :=" or "$a :="; nothing if what follows is no declaration.
  std::vector<std::string> TakeDeclaration() {
    const std::string_view start = text_;
    std::vector<std::string> names;
    while (text_.starts_with('$')) {
      text_.remove_prefix(1);
      names.push_back(TakeName());
      SkipSpace();
      if (text_.starts_with(":=")) {
        Advance(2);
        return names;
      }
      if (!text_.starts_with(',')) break;
      Advance(1);
    }
    text_ = start;
    return {};
  }

  Result<TemplateExpr> Pipeline() {
    if (++depth_ > kMaxDepth) return Bad("nested too deeply", text_);
    STRATA_TRY_ASSIGN(TemplateExpr value, CommandExpr());
    while (text_.starts_with('|')) {
      Advance(1);
      STRATA_TRY_ASSIGN(TemplateExpr next, CommandExpr());
      if (next.kind != TemplateExpr::Kind::kCall) return Bad("not a function after |", text_);
      next.arguments.push_back(std::move(value));
      value = std::move(next);
    }
    --depth_;
    return value;
  }

 private:
  static constexpr int kMaxDepth = 50;

  void SkipSpace() {
    while (!text_.empty() && Space(text_.front())) text_.remove_prefix(1);
  }
  void Advance(std::size_t count) {
    text_.remove_prefix(count);
    SkipSpace();
  }
  std::string TakeName() {
    std::size_t length = 0;
    while (length < text_.size() && WordChar(text_[length])) ++length;
    std::string name(text_.substr(0, length));
    text_.remove_prefix(length);
    return name;
  }

  // A function with its arguments, or a single operand.
  Result<TemplateExpr> CommandExpr() {
    if (text_.empty()) return Bad("a value is missing", "}}");
    if (!WordChar(text_.front()) || std::isdigit(static_cast<unsigned char>(text_.front())) != 0 ||
        IsConstant()) {
      return Operand();
    }
    TemplateExpr call;
    call.kind = TemplateExpr::Kind::kCall;
    call.name = TakeName();
    SkipSpace();
    if (!IsTemplateFunction(call.name)) return Bad("no function '" + call.name + "'", text_);
    while (!text_.empty() && text_.front() != '|' && text_.front() != ')') {
      STRATA_TRY_ASSIGN(TemplateExpr argument, Operand());
      call.arguments.push_back(std::move(argument));
    }
    return call;
  }

  bool IsConstant() const {
    ActionParser copy = *this;
    return copy.TakeWord("true") || copy.TakeWord("false") || copy.TakeWord("nil");
  }

  Result<TemplateExpr> Operand() {
    TemplateExpr expr;
    const char c = text_.front();
    if (c == '.') {
      if (text_.size() == 1 || !WordChar(text_[1])) text_.remove_prefix(1);
    } else if (c == '$') {
      text_.remove_prefix(1);
      expr.kind = TemplateExpr::Kind::kVariable;
      expr.name = TakeName();
    } else if (c == '(') {
      Advance(1);
      STRATA_TRY_ASSIGN(expr, Pipeline());
      if (!text_.starts_with(')')) return Bad("a ) is missing", text_);
      text_.remove_prefix(1);
    } else {
      STRATA_TRY_ASSIGN(expr.literal, Literal());
      expr.kind = TemplateExpr::Kind::kLiteral;
    }
    while (text_.size() > 1 && text_[0] == '.' && WordChar(text_[1])) {
      text_.remove_prefix(1);
      expr.fields.push_back(TakeName());
    }
    if (!text_.empty() && !Space(text_.front()) && text_.front() != '|' && text_.front() != ')') {
      return Bad("unexpected character", text_);
    }
    SkipSpace();
    return expr;
  }

  Result<Json> Literal() {
    if (TakeWord("true")) return Json(true);
    if (TakeWord("false")) return Json(false);
    if (TakeWord("nil")) return Json();
    const char c = text_.front();
    if (c == '`') {
      const auto end = text_.find('`', 1);
      if (end == std::string_view::npos) return Bad("a string without an end", text_);
      Json value(text_.substr(1, end - 1));
      text_.remove_prefix(end + 1);
      return value;
    }
    if (c == '"') return QuotedString();
    std::size_t length = c == '-' ? 1 : 0;
    while (length < text_.size() && (WordChar(text_[length]) || text_[length] == '.')) ++length;
    auto value = ParseJson(text_.substr(0, length));
    if (!value || !value->is_number()) return Bad("unexpected text", text_);
    text_.remove_prefix(length);
    return value;
  }

  // Go's escapes that matter here are JSON's.
  Result<Json> QuotedString() {
    std::size_t end = 1;
    while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return Bad("a string without an end", text_);
    auto value = ParseJson(text_.substr(0, end + 1));
    if (!value) return Bad("bad escape in the string", text_);
    text_.remove_prefix(end + 1);
    return value;
  }

  std::string_view text_;
  int depth_ = 0;
};

// Reads a template as a sequence of text and actions.
class TemplateParser {
 public:
  explicit TemplateParser(std::string_view text) : rest_(text) {}

  enum class End { kText, kElse, kElseIf, kEnd };

  // Until the end of the text, {{else}} or {{end}}; says which.
  Result<End> Nodes(std::vector<TemplateNode>& nodes) {
    while (true) {
      const auto open = rest_.find("{{");
      AddText(nodes, rest_.substr(0, open), open);
      if (open == std::string_view::npos) return End::kText;
      STRATA_TRY_ASSIGN(const std::string_view action, TakeAction(open));
      if (action.starts_with("/*")) continue;
      ActionParser parser(action);
      if (parser.TakeWord("end")) return End::kEnd;
      if (parser.TakeWord("else")) {
        pending_ = parser.rest();
        return parser.AtEnd() ? End::kElse : End::kElseIf;
      }
      STRATA_TRY(Action(nodes, parser));
    }
  }

  Result<> Finish(End end) {
    if (end != End::kText) return Bad("{{else}} or {{end}} without {{if}}", rest_);
    return {};
  }

 private:
  static constexpr int kMaxDepth = 50;

  void AddText(std::vector<TemplateNode>& nodes, std::string_view text, std::size_t open) {
    if (std::exchange(trim_next_, false)) {
      while (!text.empty() && Space(text.front())) text.remove_prefix(1);
    }
    if (open != std::string_view::npos && rest_.substr(open).starts_with("{{- ")) {
      text = TrimRight(text);
    }
    if (text.empty()) return;
    TemplateNode node;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool escape = text[i] == '\\' && i + 1 < text.size();
      if (escape && (text[i + 1] == 't' || text[i + 1] == 'n')) {
        node.text += text[++i] == 't' ? '\t' : '\n';
      } else {
        node.text += text[i];
      }
    }
    nodes.push_back(std::move(node));
  }

  // The inside of the action at `open`; rest_ goes behind it.
  Result<std::string_view> TakeAction(std::size_t open) {
    std::string_view inside = rest_.substr(open + 2);
    std::size_t close = 0;
    char quote = 0;
    while (close + 1 < inside.size() && (quote != 0 || inside.substr(close, 2) != "}}")) {
      const char c = inside[close];
      if (quote == 0 && (c == '"' || c == '`')) {
        quote = c;
      } else if (c == quote) {
        quote = 0;
      } else if (quote == '"' && c == '\\') {
        ++close;
      }
      ++close;
    }
    if (close + 1 >= inside.size()) return Bad("{{ without }}", rest_.substr(open));
    rest_ = inside.substr(close + 2);
    inside = inside.substr(0, close);
    if (inside.starts_with("- ")) inside.remove_prefix(1);
    if (inside.ends_with(" -")) {
      inside.remove_suffix(1);
      trim_next_ = true;
    }
    while (!inside.empty() && Space(inside.front())) inside.remove_prefix(1);
    return TrimRight(inside);
  }

  Result<> Action(std::vector<TemplateNode>& nodes, ActionParser& parser) {
    TemplateNode node;
    node.kind = parser.TakeWord("if")      ? TemplateNode::Kind::kIf
                : parser.TakeWord("with")  ? TemplateNode::Kind::kWith
                : parser.TakeWord("range") ? TemplateNode::Kind::kRange
                                           : TemplateNode::Kind::kValue;
    node.variables = parser.TakeDeclaration();
    if (node.kind == TemplateNode::Kind::kValue && !node.variables.empty()) {
      node.kind = TemplateNode::Kind::kAssign;
    }
    const std::size_t allowed = node.kind == TemplateNode::Kind::kRange ? 2 : 1;
    if (node.variables.size() > allowed) return Bad("too many variables", parser.rest());
    STRATA_TRY_ASSIGN(node.expr, parser.Pipeline());
    if (!parser.AtEnd()) return Bad("unexpected text", parser.rest());
    const bool has_body =
        node.kind != TemplateNode::Kind::kValue && node.kind != TemplateNode::Kind::kAssign;
    if (has_body) STRATA_TRY(Body(node));
    nodes.push_back(std::move(node));
    return {};
  }

  Result<> Body(TemplateNode& node) {
    if (++depth_ > kMaxDepth) return Bad("nested too deeply", rest_);
    STRATA_TRY_ASSIGN(End end, Nodes(node.body));
    if (end == End::kElseIf) {
      // {{else if x}} is {{else}}{{if x}} with one {{end}} for both.
      ActionParser parser(pending_);
      STRATA_TRY(Action(node.otherwise, parser));
      end = End::kEnd;
    } else if (end == End::kElse) {
      STRATA_TRY_ASSIGN(end, Nodes(node.otherwise));
    }
    if (end != End::kEnd) return Bad("{{end}} is missing", rest_);
    --depth_;
    return {};
  }

  std::string_view rest_;
  std::string_view pending_;
  bool trim_next_ = false;
  int depth_ = 0;
};

}  // namespace

Result<std::vector<TemplateNode>> ParseTemplate(std::string_view text) {
  TemplateParser parser(text);
  std::vector<TemplateNode> nodes;
  STRATA_TRY_ASSIGN(const auto end, parser.Nodes(nodes));
  STRATA_TRY(parser.Finish(end));
  return nodes;
}

}  // namespace strata::manager::cli
