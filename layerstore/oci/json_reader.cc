#include "layerstore/oci/json_reader.h"

#include <array>
#include <set>
#include <utility>

#include "base/utf8.h"

namespace strata::layerstore {

namespace {

// Looks through a document, keeping only the keys of the objects around, and stops at what is
// beyond the limits. A key that comes twice means one thing to us and another to somebody else.
class LimitCheck final : public nlohmann::json_sax<Json> {
 public:
  const std::string& problem() const { return problem_; }

  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool start_object(std::size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(std::size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool key(string_t& name) override {
    auto& keys = keys_[depth_ - 1];
    if (keys.size() == kJsonKeysMax) {
      problem_ = "has an object with too many keys";
    } else if (const auto [at, added] = keys.insert(std::move(name)); !added) {
      problem_ = "has '" + ShownText(*at) + "' twice in one object";
    }
    return problem_.empty();
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  bool Count() {
    if (++values_ > kJsonValuesMax) problem_ = "has too many values";
    return problem_.empty();
  }
  bool Enter() {
    if (!Count()) return false;
    if (depth_ == kJsonDepthMax) {
      problem_ = "is nested too deeply";
      return false;
    }
    ++depth_;
    return true;
  }
  bool Leave() {
    keys_[--depth_].clear();
    return true;
  }

  std::array<std::set<std::string>, kJsonDepthMax> keys_;  // of the objects around
  std::size_t depth_ = 0;
  std::size_t values_ = 0;
  std::string problem_;
};

// The detail is all that a client is shown, so it says what the document is.
std::unexpected<Error> Is(const char* what, const std::string& problem) {
  return Fail(EINVAL, what, std::string(what) + " " + problem);
}

Result<Json> ParseJson(std::string_view text, std::size_t limit, const char* what) {
  if (text.size() > limit) {
    return Is(what, "is larger than " + std::to_string(limit) + " bytes");
  }
  LimitCheck check;
  if (!Json::sax_parse(text, &check)) {
    return Is(what, check.problem().empty() ? "is not JSON" : check.problem());
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Is(what, "is not JSON");
  return json;
}

}  // namespace

Result<Json> ParseJsonObject(std::string_view text, std::size_t limit, const char* what) {
  auto json = ParseJson(text, limit, what);
  if (json && !json->is_object()) return Is(what, "is not a JSON object");
  return json;
}

Result<Json> ParseJsonArray(std::string_view text, std::size_t limit, const char* what) {
  auto json = ParseJson(text, limit, what);
  if (json && !json->is_array()) return Is(what, "is not a JSON list");
  return json;
}

void JsonReader::Fail(std::string_view why) {
  if (!problem_) problem_ = std::string(why);
}

void JsonReader::WrongType(const char* key, const char* wanted) {
  Fail(std::string("field '") + key + "' is not " + wanted);
}

Result<> JsonReader::status() {
  if (problem_) return strata::Fail(EINVAL, what_, std::string(what_) + ": " + *problem_);
  return {};
}

const Json* JsonReader::Find(const char* key) {
  if (problem_) return nullptr;
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonReader::Has(const char* key) const {
  const auto it = object_.find(key);
  return it != object_.end() && !it->is_null();
}

std::string JsonReader::String(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return {};
  if (const auto* text = value->get_ptr<const std::string*>()) return *text;
  WrongType(key, "a string");
  return {};
}

std::int64_t JsonReader::Integer(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned()) {
    const auto number = value->get<std::uint64_t>();
    if (std::in_range<std::int64_t>(number)) return static_cast<std::int64_t>(number);
  } else if (value->is_number_integer()) {
    return value->get<std::int64_t>();
  }
  WrongType(key, "a whole number in range");
  return 0;
}

bool JsonReader::Bool(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  WrongType(key, "true or false");
  return false;
}

std::vector<std::string> JsonReader::Strings(const char* key) {
  std::vector<std::string> result;
  const Json* array = Array(key);
  if (array == nullptr) return result;
  for (const Json& item : *array) {
    const auto* text = item.get_ptr<const std::string*>();
    if (text == nullptr) {
      WrongType(key, "a list of strings");
      return {};
    }
    result.push_back(*text);
  }
  return result;
}

std::map<std::string, std::string> JsonReader::StringMap(const char* key) {
  std::map<std::string, std::string> result;
  const Json* object = Object(key);
  if (object == nullptr) return result;
  for (const auto& [name, value] : object->items()) {
    const auto* text = value.get_ptr<const std::string*>();
    if (text == nullptr) {
      WrongType(key, "an object of strings");
      return {};
    }
    result[name] = *text;
  }
  return result;
}

std::vector<std::string> JsonReader::Keys(const char* key) {
  std::vector<std::string> result;
  const Json* object = Object(key);
  if (object == nullptr) return result;
  for (const auto& [name, value] : object->items()) result.push_back(name);
  return result;
}

const Json* JsonReader::Object(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return value;
  WrongType(key, "an object");
  return nullptr;
}

const Json* JsonReader::Array(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return nullptr;
  if (value->is_array()) return value;
  WrongType(key, "a list");
  return nullptr;
}

Digest JsonReader::RequiredDigest(const char* key) {
  const std::string text = String(key);
  if (problem_) return {};
  auto digest = Digest::Parse(text);
  if (digest) return *digest;
  Fail(std::string("field '") + key + "': " + std::string(digest.error().detail()));
  return {};
}

std::string DumpJson(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace strata::layerstore
