// Typed access to the fields of a JSON object, for the codecs in this folder and the API's bodies:
// the first wrong field is remembered and reported once at the end. Include from .cc files only.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace strata::manager {

// Get() leaves `into` as it is when the field is absent or null. Not thread-safe; the object must
// outlive the reader.
class JsonFields {
 public:
  explicit JsonFields(const nlohmann::json& object) : object_(object) {
    if (!object.is_object()) bad_ = "a JSON object was expected";
  }

  void Get(const char* key, std::string& into) {
    if (const auto* value = Find(key)) {
      value->is_string() ? void(into = value->get<std::string>()) : Bad(key, "a string");
    }
  }
  void Get(const char* key, bool& into) {
    if (const auto* value = Find(key)) {
      value->is_boolean() ? void(into = value->get<bool>()) : Bad(key, "a boolean");
    }
  }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void Get(const char* key, T& into) {
    const auto* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_number_integer() || !Fits<T>(*value)) return Bad(key, "an integer in range");
    into = value->get<T>();
  }
  template <class T>
  void Get(const char* key, std::optional<T>& into) {
    if (Find(key) == nullptr) return;
    T value{};
    Get(key, value);
    into = std::move(value);
  }
  void Get(const char* key, std::vector<std::string>& into) {
    const auto* value = Find(key);
    if (value == nullptr) return;
    std::vector<std::string> list;
    // docker takes one string for a list of one.
    if (value->is_string()) {
      list.push_back(value->get<std::string>());
    } else if (!value->is_array()) {
      return Bad(key, "a list of strings");
    } else {
      for (const auto& item : *value) {
        if (!item.is_string()) return Bad(key, "a list of strings");
        list.push_back(item.get<std::string>());
      }
    }
    into = std::move(list);
  }
  void Get(const char* key, std::map<std::string, std::string>& into) {
    const auto* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_object()) return Bad(key, "an object of strings");
    std::map<std::string, std::string> map;
    for (const auto& [name, text] : value->items()) {
      if (!text.is_string() && !text.is_null()) return Bad(key, "an object of strings");
      map[name] = text.is_null() ? std::string() : text.get<std::string>();
    }
    into = std::move(map);
  }
  // The names of an object used as a set: {"80/tcp": {}}.
  void GetKeys(const char* key, std::vector<std::string>& into) {
    const auto* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_object()) return Bad(key, "an object");
    into.clear();
    for (const auto& [name, ignored] : value->items()) into.push_back(name);
  }
  // Calls `each` with a reader for every object of a list, and for one object under a key.
  template <class Each>
  void ForEach(const char* key, Each each) {
    const auto* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_array()) return Bad(key, "a list of objects");
    for (const auto& item : *value) {
      JsonFields fields(item);
      each(fields);
      Adopt(key, fields);
    }
  }
  template <class Use>
  void Within(const char* key, Use use) {
    const auto* value = Find(key);
    if (value == nullptr) return;
    JsonFields fields(*value);
    use(fields);
    Adopt(key, fields);
  }

  // The value, or nullptr when absent or null.
  const nlohmann::json* Find(const char* key) const {
    if (!object_.is_object()) return nullptr;
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  void Bad(const char* key, const std::string& wanted) {
    if (bad_.empty()) bad_ = std::string(key) + ": " + wanted + " was expected";
  }
  Result<> Finish() const {
    if (!bad_.empty()) return Fail(EINVAL, "json", "invalid JSON: " + bad_);
    return {};
  }

 private:
  template <class T>
  static bool Fits(const nlohmann::json& value) {
    if (value.is_number_unsigned()) {
      return std::in_range<T>(value.get<std::uint64_t>());
    }
    return std::in_range<T>(value.get<std::int64_t>());
  }
  void Adopt(const char* key, const JsonFields& inner) {
    if (bad_.empty() && !inner.bad_.empty()) bad_ = std::string(key) + '.' + inner.bad_;
  }

  const nlohmann::json& object_;
  std::string bad_;
};

}  // namespace strata::manager
