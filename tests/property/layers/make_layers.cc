// make_layers DIR SEED COUNT [SKIPPED-ODDITY...]: an image of COUNT random cases, for programs that
// unpack images. Each case has a directory of its own, named by its seed. Writes the tars of the
// layers, base first, to DIR/0.tar ..., and what has to come of them to DIR/expected.json.
//
// make_layers --one DIR SEED: the tars of the case of the model test.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "base/digest.h"
#include "tests/property/layers/layer_model.h"
#include "tests/property/layers/random_layers.h"
#include "tests/property/layers/tar_encoder.h"
#include "tests/property/layers/tree_text.h"
#include "tests/support/files.h"

namespace strata::property {
namespace {

constexpr std::size_t kLayersMax = 3;
constexpr const char* kOnlyApart = "only by layers apart";
constexpr const char* kDiffers = "layers apart and one after the other differ";

std::string NameOf(std::uint64_t seed) {
  char text[32];
  std::snprintf(text, sizeof text, "s%010" PRIu64, seed);
  return text;
}

// As JSON: each byte is a character of the same number.
std::string Quoted(std::string_view bytes) {
  std::string text = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte < 0x7f && c != '"' && c != '\\') {
      text += c;
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
    text += escaped;
  }
  return text + '"';
}

// [mode, uid, gid, device, xattrs, [s, ns] or null, content's digest or target, first name]
std::string Json(const ModelNode& node, const std::string& first_name) {
  std::string text = "[" + std::to_string(node.mode) + ',' + std::to_string(node.uid) + ',' +
                     std::to_string(node.gid) + ',' + std::to_string(node.device) + ",{";
  for (const auto& [name, value] : AllXattrs(node)) {
    if (text.back() != '{') text += ',';
    text += Quoted(name) + ':' + Quoted(value);
  }
  text += "},";
  if (node.mtime) {
    text +=
        '[' + std::to_string(node.mtime->tv_sec) + ',' + std::to_string(node.mtime->tv_nsec) + "],";
  } else {
    text += "null,";
  }
  text += Quoted(S_ISREG(node.mode) ? Digest::Of(node.content).Hex() : node.content) + ',';
  return text + Quoted(first_name) + ']';
}

std::string Json(const ModelTree& tree) {
  std::string text;
  const auto groups = LinkGroups(tree);
  for (const auto& [path, node] : tree) {
    const auto first = groups.find(path);
    text += text.empty() ? "{" : ",\n";
    text += Quoted(path) + ':' + Json(*node, first == groups.end() ? std::string() : first->second);
  }
  return text + '}';
}

class Batch {
 public:
  explicit Batch(std::vector<std::string> skipped) : skipped_(std::move(skipped)) {}

  void Add(std::uint64_t seed) {
    const std::string prefix = NameOf(seed) + '/';
    LayerCase random = MakeRandomLayers(seed, {.prefix = prefix.size(), .for_peers = true});
    for (LayerEntries& entries : random.layers) entries.insert(entries.begin(), TopDirectory());
    LayerModel layered(LayerModel::Rule::kLayered);
    LayerModel sequential(LayerModel::Rule::kSequential);
    bool in_sequence = true;
    for (const LayerEntries& entries : random.layers) {
      if (!layered.Apply(entries)) return;
      in_sequence = in_sequence && sequential.Apply(entries);
    }
    auto& oddities = random.oddities;
    oddities.insert(layered.oddities().begin(), layered.oddities().end());
    oddities.insert(sequential.oddities().begin(), sequential.oddities().end());
    const std::string tree = Json(layered.tree());
    const std::string other = in_sequence ? Json(sequential.tree()) : "null";
    if (!in_sequence) {
      oddities.insert(kOnlyApart);
    } else if (tree != other) {
      oddities.insert(kDiffers);
    }
    for (const std::string& oddity : skipped_) {
      if (oddities.contains(oddity)) return;
    }
    for (std::size_t i = 0; i < random.layers.size(); ++i) {
      TarEncoder encoder(prefix);
      for (const LayerEntry& entry : random.layers[i]) encoder.Add(entry);
      layers_[i].Append(encoder);
    }
    AddExpected(NameOf(seed), oddities, tree, other);
  }

  void Write(const std::string& directory) const {
    for (std::size_t i = 0; i < kLayersMax; ++i) {
      support::WriteFile(directory + '/' + std::to_string(i) + ".tar", layers_[i].Finish());
    }
    support::WriteFile(directory + "/expected.json",
                       (expected_.empty() ? "{" : expected_) + "\n}\n");
  }

 private:
  static LayerEntry TopDirectory() {
    return {.path = "./", .kind = LayerEntry::Kind::kDirectory, .mode = 0755, .mtime = {1, 0}};
  }

  void AddExpected(const std::string& name, const std::set<std::string>& oddities,
                   const std::string& layered, const std::string& sequential) {
    expected_ += expected_.empty() ? "{\n" : ",\n";
    expected_ += Quoted(name) + ":{\"oddities\":[";
    for (const std::string& oddity : oddities) {
      if (expected_.back() != '[') expected_ += ',';
      expected_ += Quoted(oddity);
    }
    expected_ += "],\n\"layered\":" + layered;
    if (layered != sequential) expected_ += ",\n\"sequential\":" + sequential;
    expected_ += '}';
  }

  const std::vector<std::string> skipped_;
  TarEncoder layers_[kLayersMax];
  std::string expected_;
};

void WriteOne(const std::string& directory, std::uint64_t seed) {
  const LayerCase random = MakeRandomLayers(seed);
  for (std::size_t i = 0; i < random.layers.size(); ++i) {
    TarEncoder encoder;
    for (const LayerEntry& entry : random.layers[i]) encoder.Add(entry);
    support::WriteFile(directory + '/' + std::to_string(i) + ".tar", encoder.Finish());
  }
}

int Main(std::vector<std::string> words) {
  if (words.size() == 3 && words[0] == "--one") {
    WriteOne(words[1], std::strtoull(words[2].c_str(), nullptr, 0));
    return 0;
  }
  if (words.size() < 3) {
    std::cerr << "usage: make_layers DIR SEED COUNT [SKIPPED-ODDITY...]\n"
                 "       make_layers --one DIR SEED\n";
    return 2;
  }
  const std::uint64_t seed = std::strtoull(words[1].c_str(), nullptr, 0);
  const std::uint64_t count = std::strtoull(words[2].c_str(), nullptr, 0);
  Batch batch({words.begin() + 3, words.end()});
  for (std::uint64_t i = 0; i < count; ++i) batch.Add(seed + i);
  batch.Write(words[0]);
  return 0;
}

}  // namespace
}  // namespace strata::property

int main(int argc, char** argv) { return strata::property::Main({argv + 1, argv + argc}); }
