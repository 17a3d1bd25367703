#include "tests/property/sequence_text.h"

#include <array>
#include <charconv>
#include <map>
#include <sstream>

#include "base/try.h"

namespace strata::property {
namespace {

constexpr std::string_view kHeader = "strata-model 1";

constexpr std::array kLayerNames = {"dir",     "file",     "symlink",  "fifo",
                                    "chardev", "blockdev", "hardlink", "whiteout",
                                    "opaque",  "movedir",  "xattr"};
constexpr std::array kOpNames = {
    "open",      "close",     "read",      "readnext",    "write",    "writenext", "mapread",
    "mapwrite",  "ftruncate", "truncate",  "fallocate",   "seek",     "copyrange", "fsync",
    "stat",      "fstat",     "readdir",   "readdiropen", "readlink", "access",    "statfs",
    "mkdir",     "rmdir",     "unlink",    "symlink",     "mknod",    "link",      "rename",
    "chmod",     "fchmod",    "chown",     "fchown",      "utimes",   "futimes",   "setxattr",
    "fsetxattr", "getxattr",  "listxattr", "removexattr"};
static_assert(kOpNames.size() == kOpKinds);

std::string Quote(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '%' && c != '#') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

Result<std::string> Unquote(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    const char* from = text.data() + i + 1;
    if (i + 3 > text.size()) return Fail(EINVAL, "unquote");
    if (std::from_chars(from, from + 2, byte, 16).ptr != from + 2) return Fail(EINVAL, "unquote");
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

// Writes fields that differ from the default, and reads them back: one list per struct below.
class FieldWriter {
 public:
  void Text(const char* key, const std::string& value) {
    if (!value.empty()) out_ << ' ' << key << '=' << Quote(value);
  }
  template <class T>
  void Number(const char* key, T value, T standard = T{}) {
    if (value != standard) out_ << ' ' << key << '=' << std::dec << +value;
  }
  template <class T>
  void Octal(const char* key, T value, T standard = T{}) {
    if (value != standard) out_ << ' ' << key << '=' << std::oct << value << std::dec;
  }
  std::string Take() { return out_.str(); }

 private:
  std::ostringstream out_;
};

class FieldReader {
 public:
  static Result<FieldReader> Parse(std::istringstream& words) {
    FieldReader reader;
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      if (equals == std::string::npos) return Fail(EINVAL, "field", word);
      STRATA_TRY_ASSIGN(reader.fields_[word.substr(0, equals)], Unquote(word.substr(equals + 1)));
    }
    return reader;
  }
  void Text(const char* key, std::string& value) {
    if (const auto it = fields_.find(key); it != fields_.end()) {
      value = it->second;
      fields_.erase(it);
    }
  }
  template <class T>
  void Number(const char* key, T& value, T = T{}) {
    Read(key, value, 10);
  }
  template <class T>
  void Octal(const char* key, T& value, T = T{}) {
    Read(key, value, 8);
  }
  bool Clean() const { return !bad_ && fields_.empty(); }

 private:
  template <class T>
  void Read(const char* key, T& value, int base) {
    const auto it = fields_.find(key);
    if (it == fields_.end()) return;
    const char* const end = it->second.data() + it->second.size();
    long long number = 0;
    bad_ = bad_ || std::from_chars(it->second.data(), end, number, base).ptr != end;
    value = static_cast<T>(number);
    fields_.erase(it);
  }
  std::map<std::string, std::string> fields_;
  bool bad_ = false;
};

template <class Fields, class Command>
void LayerFields(Fields& f, Command& c) {
  f.Text("path", c.path);
  f.Text("text", c.text);
  f.Text("name", c.name);
  f.Octal("mode", c.mode, mode_t{0755});
  f.Number("uid", c.uid);
  f.Number("gid", c.gid);
  f.Number("mtime", c.mtime);
  f.Number("size", c.size);
  f.Number("seed", c.seed);
  f.Number("hole", c.hole);
}

template <class Fields, class Command>
void OpFields(Fields& f, Command& c) {
  f.Number("slot", c.slot);
  f.Number("slot2", c.slot2);
  f.Number("base", c.base);
  f.Text("path", c.path);
  f.Text("path2", c.path2);
  f.Text("name", c.name);
  f.Text("text", c.text);
  f.Octal("flags", c.flags);
  f.Octal("mode", c.mode);
  f.Number("a", c.a);
  f.Number("b", c.b);
  f.Number("seed", c.seed);
  f.Number("as", c.as);
}

std::string ToText(const LayerCommand& command) {
  FieldWriter fields;
  LayerFields(fields, command);
  return kLayerNames[static_cast<std::size_t>(command.kind)] + fields.Take();
}

template <class Kind, std::size_t kSize>
Result<Kind> ParseKind(const std::array<const char*, kSize>& names, const std::string& word) {
  for (std::size_t i = 0; i < kSize; ++i) {
    if (word == names[i]) return static_cast<Kind>(i);
  }
  return Fail(EINVAL, "command", word);
}

Result<> ParseLine(const std::string& line, Sequence& sequence, bool& in_operations) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  if (word == "seed") {
    words >> sequence.seed;
  } else if (word == "umask") {
    words >> std::oct >> sequence.umask;
  } else if (word == "layer" || word == "upper") {
    sequence.layers.emplace_back();
    sequence.upper_prefilled = word == "upper";
  } else if (word == "ops") {
    in_operations = true;
  } else if (in_operations) {
    Operation operation;
    STRATA_TRY_ASSIGN(operation.kind, ParseKind<OpKind>(kOpNames, word));
    STRATA_TRY_ASSIGN(FieldReader fields, FieldReader::Parse(words));
    OpFields(fields, operation);
    if (!fields.Clean()) return Fail(EINVAL, "field");
    sequence.operations.push_back(std::move(operation));
  } else if (!sequence.layers.empty()) {
    LayerCommand command;
    STRATA_TRY_ASSIGN(command.kind, ParseKind<LayerKind>(kLayerNames, word));
    STRATA_TRY_ASSIGN(FieldReader fields, FieldReader::Parse(words));
    LayerFields(fields, command);
    if (!fields.Clean()) return Fail(EINVAL, "field");
    sequence.layers.back().push_back(std::move(command));
  } else {
    return Fail(EINVAL, "command", word);
  }
  return {};
}

}  // namespace

std::string ToText(const Operation& operation) {
  FieldWriter fields;
  OpFields(fields, operation);
  return kOpNames[static_cast<std::size_t>(operation.kind)] + fields.Take();
}

std::string ToText(const Sequence& sequence) {
  std::ostringstream out;
  out << kHeader << "\nseed " << sequence.seed << "\numask " << std::oct << sequence.umask
      << std::dec << '\n';
  for (std::size_t i = 0; i < sequence.layers.size(); ++i) {
    const bool top = i + 1 == sequence.layers.size();
    out << (top && sequence.upper_prefilled ? "upper\n" : "layer\n");
    for (const LayerCommand& command : sequence.layers[i]) out << ToText(command) << '\n';
  }
  out << "ops\n";
  for (const Operation& operation : sequence.operations) out << ToText(operation) << '\n';
  return out.str();
}

Result<Sequence> ParseSequence(std::string_view text) {
  std::istringstream in{std::string(text)};
  Sequence sequence;
  bool header = false;
  bool in_operations = false;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (!header) {
      if (line != kHeader) return Fail(EINVAL, "header", line);
      header = true;
      continue;
    }
    if (auto parsed = ParseLine(line, sequence, in_operations); !parsed) {
      return std::unexpected(std::move(parsed.error()).WithContext(line));
    }
  }
  if (!header) return Fail(EINVAL, "header");
  return sequence;
}

}  // namespace strata::property
