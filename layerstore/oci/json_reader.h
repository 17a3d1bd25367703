// Checked reading of JSON objects from outside: a missing field is its default, one of the wrong
// type is an error naming the field. Private to this folder (it shows nlohmann types).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

// What is read: keys are found in a tree, for documents from outside may have a great many.
using Json = nlohmann::json;
// What is written: keys stay in the order they were given. Each is searched for among those before.
using OrderedJson = nlohmann::ordered_json;

// No document that means something has more, or goes deeper.
inline constexpr std::size_t kJsonKeysMax = 100'000;    // of one object
inline constexpr std::size_t kJsonValuesMax = 250'000;  // 100 bytes and more in memory each
inline constexpr std::size_t kJsonDepthMax = 64;

// EINVAL unless `text` is one JSON object of at most `limit` bytes and within the limits above, and
// no object in it has a key twice; `what` starts the message.
Result<Json> ParseJsonObject(std::string_view text, std::size_t limit, const char* what);

// The same for a list.
Result<Json> ParseJsonArray(std::string_view text, std::size_t limit, const char* what);

// Reads fields of one object. The first problem sticks and makes all further reads give defaults:
// read everything, then ask status() once. Keys match exactly. null counts as missing.
class JsonReader {
 public:
  // `what` starts messages and must outlive the reader, as must the object.
  JsonReader(const Json& object, const char* what) : object_(object), what_(what) {}

  bool Has(const char* key) const;
  std::string String(const char* key);
  std::int64_t Integer(const char* key);
  bool Bool(const char* key);
  std::vector<std::string> Strings(const char* key);
  std::map<std::string, std::string> StringMap(const char* key);
  // The keys of an object whose values do not matter: {"80/tcp": {}}.
  std::vector<std::string> Keys(const char* key);
  // nullptr if missing.
  const Json* Object(const char* key);
  const Json* Array(const char* key);
  Digest RequiredDigest(const char* key);

  void Fail(std::string_view why);
  Result<> status();

 private:
  const Json* Find(const char* key);
  void WrongType(const char* key, const char* wanted);

  const Json& object_;
  const char* what_;
  std::optional<std::string> problem_;
};

// Serialises without throwing: bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const OrderedJson& json);

}  // namespace strata::layerstore
