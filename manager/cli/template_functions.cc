#include "manager/cli/template_functions.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "manager/cli/flags.h"

namespace strata::manager::cli {
namespace {

using Arguments = std::span<const Json>;

std::unexpected<Error> Mismatch(std::string_view function, std::string_view what) {
  return UsageError("template: " + std::string(function) + ": " + std::string(what));
}

std::string GoFloat(double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.17g", value);
  // The shortest form that reads back the same, as Go prints it.
  for (int precision = 1; precision < 17; ++precision) {
    std::array<char, 64> shorter{};
    std::snprintf(shorter.data(), shorter.size(), "%.*g", precision, value);
    if (std::strtod(shorter.data(), nullptr) == value) return shorter.data();
  }
  return text.data();
}

std::string MapText(char (*change)(char), std::string text) {
  std::ranges::transform(text, text.begin(), change);
  return text;
}

char Lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }
char Upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }

Result<Json> ToJson(Arguments arguments) { return Json(DumpJson(arguments[0])); }
Result<Json> ToLower(Arguments arguments) { return Json(MapText(Lower, GoText(arguments[0]))); }
Result<Json> ToUpper(Arguments arguments) { return Json(MapText(Upper, GoText(arguments[0]))); }

Result<Json> ToTitle(Arguments arguments) {
  std::string text = GoText(arguments[0]);
  bool start = true;
  for (char& c : text) {
    if (start) c = Upper(c);
    start = std::isalnum(static_cast<unsigned char>(c)) == 0;
  }
  return Json(std::move(text));
}

Result<Json> Split(Arguments arguments) {
  const std::string text = GoText(arguments[0]);
  const std::string separator = GoText(arguments[1]);
  if (separator.empty()) return Mismatch("split", "the separator is empty");
  Json parts = Json::array();
  std::size_t from = 0;
  while (true) {
    const auto end = text.find(separator, from);
    parts.push_back(text.substr(from, end == std::string::npos ? end : end - from));
    if (end == std::string::npos) return parts;
    from = end + separator.size();
  }
}

Result<Json> Join(Arguments arguments) {
  if (arguments[0].is_null()) return Json("");
  if (!arguments[0].is_array()) return Mismatch("join", "the first argument is no list");
  const std::string separator = GoText(arguments[1]);
  std::string text;
  for (std::size_t i = 0; i < arguments[0].size(); ++i) {
    if (i > 0) text += separator;
    text += GoText(arguments[0][i]);
  }
  return Json(std::move(text));
}

Result<Json> Pad(Arguments arguments) {
  const std::string text = GoText(arguments[0]);
  if (text.empty()) return Json("");
  const auto spaces = [&](std::size_t i) {
    return std::string(
        static_cast<std::size_t>(std::clamp<std::int64_t>(Number(arguments[i]), 0, 4096)), ' ');
  };
  return Json(spaces(1) + text + spaces(2));
}

Result<Json> Truncate(Arguments arguments) {
  const std::int64_t length = Number(arguments[1]);
  if (length < 0) return Mismatch("truncate", "the length is negative");
  return Json(GoText(arguments[0]).substr(0, static_cast<std::size_t>(length)));
}

Result<Json> Length(Arguments arguments) {
  if (arguments[0].is_string()) return Json(Text(arguments[0]).size());
  if (arguments[0].is_structured() || arguments[0].is_null()) return Json(arguments[0].size());
  return Mismatch("len", "the argument has no length");
}

Result<Json> Index(Arguments arguments) {
  const Json* value = arguments.data();
  for (const Json& key : arguments.subspan(1)) {
    if (value->is_array()) {
      const std::int64_t at = Number(key, -1);
      if (at < 0 || static_cast<std::size_t>(at) >= value->size()) {
        return Mismatch("index", "out of range: " + GoText(key));
      }
      value = &(*value)[static_cast<std::size_t>(at)];
    } else if (value->is_object()) {
      value = &At(*value, GoText(key));
    } else {
      return Mismatch("index", "neither a list nor a map");
    }
  }
  // A missing key of a map of strings is "" in Go.
  return value->is_null() && arguments[0].is_object() ? Json("") : *value;
}

Result<Json> Slice(Arguments arguments) {
  const std::string text = GoText(arguments[0]);
  const auto from = static_cast<std::size_t>(Number(arguments[1]));
  const auto to =
      arguments.size() > 2 ? static_cast<std::size_t>(Number(arguments[2])) : text.size();
  if (from > to || to > text.size()) return Mismatch("slice", "out of range");
  return Json(text.substr(from, to - from));
}

Result<Json> Concatenate(Arguments arguments) {
  std::string text;
  for (const Json& argument : arguments) text += GoText(argument);
  return Json(std::move(text));
}

Result<Json> PrintLine(Arguments arguments) {
  std::string text;
  for (const Json& argument : arguments) text += (text.empty() ? "" : " ") + GoText(argument);
  return Json(text + "\n");
}

Result<Json> And(Arguments arguments) {
  const auto found = std::ranges::find_if_not(arguments, GoTruth);
  return found == arguments.end() ? arguments.back() : *found;
}
Result<Json> Or(Arguments arguments) {
  const auto found = std::ranges::find_if(arguments, GoTruth);
  return found == arguments.end() ? arguments.back() : *found;
}
Result<Json> Not(Arguments arguments) { return Json(!GoTruth(arguments[0])); }

Result<Json> Equal(Arguments arguments) {
  return Json(std::ranges::any_of(arguments.subspan(1),
                                  [&](const Json& other) { return arguments[0] == other; }));
}
Result<Json> NotEqual(Arguments arguments) { return Json(arguments[0] != arguments[1]); }
Result<Json> Less(Arguments arguments) { return Json(arguments[0] < arguments[1]); }
Result<Json> Greater(Arguments arguments) { return Json(arguments[0] > arguments[1]); }

struct Function {
  Result<Json> (*call)(Arguments);
  std::size_t min_arguments;
  std::size_t max_arguments;
};

const std::map<std::string_view, Function>& Functions() {
  constexpr std::size_t kAny = 64;
  static const std::map<std::string_view, Function> functions{
      {"json", {ToJson, 1, 1}},
      {"lower", {ToLower, 1, 1}},
      {"upper", {ToUpper, 1, 1}},
      {"title", {ToTitle, 1, 1}},
      {"split", {Split, 2, 2}},
      {"join", {Join, 2, 2}},
      {"pad", {Pad, 3, 3}},
      {"truncate", {Truncate, 2, 2}},
      {"len", {Length, 1, 1}},
      {"index", {Index, 1, kAny}},
      {"slice", {Slice, 2, 3}},
      {"print", {Concatenate, 0, kAny}},
      {"println", {PrintLine, 0, kAny}},
      {"and", {And, 1, kAny}},
      {"or", {Or, 1, kAny}},
      {"not", {Not, 1, 1}},
      {"eq", {Equal, 2, kAny}},
      {"ne", {NotEqual, 2, 2}},
      {"lt", {Less, 2, 2}},
      {"gt", {Greater, 2, 2}},
  };
  return functions;
}

}  // namespace

std::string GoText(const Json& value) {
  if (value.is_string()) return Text(value);
  if (value.is_null()) return "<no value>";
  if (value.is_number_float()) return GoFloat(value.get<double>());
  if (value.is_array()) {
    std::string text = "[";
    for (const Json& item : value) text += (text.size() > 1 ? " " : "") + GoText(item);
    return text + "]";
  }
  if (value.is_object()) {
    std::map<std::string, std::string> sorted;
    for (const auto& [key, item] : value.items()) sorted.emplace(key, GoText(item));
    std::string text = "map[";
    for (const auto& [key, item] : sorted) {
      text += (text.size() > 4 ? " " : "") + key + ":" + item;
    }
    return text + "]";
  }
  return DumpJson(value);
}

bool GoTruth(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != Json(0);
  if (value.is_string()) return !Text(value).empty();
  return !value.empty();
}

bool IsTemplateFunction(std::string_view name) { return Functions().contains(name); }

Result<Json> CallTemplateFunction(std::string_view name, std::span<const Json> arguments) {
  const auto found = Functions().find(name);
  if (found == Functions().end()) return Mismatch(name, "no such function");
  const Function& function = found->second;
  if (arguments.size() < function.min_arguments || arguments.size() > function.max_arguments) {
    return Mismatch(name, "wrong number of arguments");
  }
  return function.call(arguments);
}

}  // namespace strata::manager::cli
