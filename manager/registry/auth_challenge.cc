#include "manager/registry/auth_challenge.h"

#include <optional>

namespace strata::manager {
namespace {

// RFC 9110 §5.6.2: tchar.
bool IsTokenChar(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("!#$%&'*+-.^_`|~").contains(c);
}

// Reads the grammar's pieces off the front of a header.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool AtEnd() const { return text_.empty(); }

  void SkipBlanks() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\t')) {
      text_.remove_prefix(1);
    }
  }
  // Lists may have empty elements.
  void SkipSeparators() {
    while (!text_.empty() &&
           (text_.front() == ' ' || text_.front() == '\t' || text_.front() == ',')) {
      text_.remove_prefix(1);
    }
  }
  bool Take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  // "" if there is none.
  std::string TakeToken() {
    std::size_t length = 0;
    while (length < text_.size() && IsTokenChar(text_[length])) ++length;
    std::string token(text_.substr(0, length));
    text_.remove_prefix(length);
    return token;
  }
  std::optional<std::string> TakeQuoted() {
    if (!Take('"')) return std::nullopt;
    std::string value;
    while (!text_.empty()) {
      const char c = text_.front();
      text_.remove_prefix(1);
      if (c == '"') return value;
      if (c != '\\') {
        value += c;
      } else if (!text_.empty()) {
        value += text_.front();
        text_.remove_prefix(1);
      }
    }
    return std::nullopt;  // not closed
  }
  // Registries send unquoted values with characters no token has: take all up to the separator.
  std::string TakeLoose() {
    const std::size_t end = text_.find_first_of(", \t");
    std::string value(text_.substr(0, end));
    text_.remove_prefix(value.size());
    return value;
  }

 private:
  std::string_view text_;
};

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

void ParseHeader(std::string_view header, std::vector<AuthChallenge>& out) {
  Scanner scan(header);
  for (;;) {
    scan.SkipSeparators();
    if (scan.AtEnd()) return;
    std::string word = scan.TakeToken();
    if (word.empty()) return;
    scan.SkipBlanks();
    if (!scan.Take('=')) {  // a scheme: no parameter has a name without '='
      out.push_back({Lower(std::move(word)), {}});
      continue;
    }
    if (out.empty()) return;
    scan.SkipBlanks();
    std::optional<std::string> value = scan.TakeQuoted();
    if (!value) value = scan.TakeLoose();
    out.back().parameters.emplace(Lower(std::move(word)), *std::move(value));
  }
}

}  // namespace

std::string_view AuthChallenge::Get(std::string_view name) const {
  const auto it = parameters.find(name);
  return it == parameters.end() ? std::string_view() : std::string_view(it->second);
}

std::vector<AuthChallenge> ParseChallenges(const std::vector<std::string_view>& headers) {
  std::vector<AuthChallenge> result;
  for (const std::string_view header : headers) ParseHeader(header, result);
  return result;
}

}  // namespace strata::manager
