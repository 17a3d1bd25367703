#include "tests/conformance/posix/script.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/try.h"

namespace strata::conformance {
namespace {

constexpr std::string_view kArrow = " -> ";

std::string Trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::unexpected<Error> Complain(const std::string& file, int number, const std::string& what) {
  return Fail(EINVAL, "case file", file + ":" + std::to_string(number) + ": " + what);
}

class Loader {
 public:
  explicit Loader(std::vector<Script>& scripts) : scripts_(scripts) {}

  Result<> Load(const std::filesystem::path& path) {
    const std::string file = path.filename();
    std::ifstream in(path);
    bool in_case = false;
    std::string raw;
    for (int number = 1; std::getline(in, raw); ++number) {
      const Line line = ParseLine(raw, number);
      if (line.words.empty()) continue;
      if (line.words[0] == "case") {
        if (line.words.size() != 2) return Complain(file, number, "a case has a name of one word");
        if (!names_.insert(line.words[1]).second) return Complain(file, number, "name used twice");
        scripts_.push_back({line.words[1], file, {}, {}});
        in_case = true;
      } else if (!in_case) {
        return Complain(file, number, "stands before the first case");
      } else if (line.text == "--") {
        if (!scripts_.back().setup.empty()) return Complain(file, number, "a second --");
        scripts_.back().setup.swap(scripts_.back().body);
      } else {
        scripts_.back().body.push_back(line);
      }
    }
    if (in.bad() || !in.eof()) return Complain(file, 0, "cannot be read");
    return {};
  }

 private:
  std::vector<Script>& scripts_;
  std::set<std::string> names_;
};

}  // namespace

Line ParseLine(const std::string& text, int number) {
  Line line;
  line.number = number;
  line.text = Trimmed(text);
  if (line.text.starts_with('#')) line.text.clear();
  if (const auto arrow = line.text.rfind(kArrow); arrow != std::string::npos) {
    line.expected = Trimmed(line.text.substr(arrow + kArrow.size()));
    line.text = Trimmed(line.text.substr(0, arrow));
  }
  std::istringstream words(line.text);
  for (std::string word; words >> word;) line.words.push_back(word);
  return line;
}

Result<std::vector<Script>> LoadScripts(const std::string& directory) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".case") files.push_back(entry.path());
  }
  if (error) return Fail(error.value(), "case files", directory);
  std::ranges::sort(files);
  std::vector<Script> scripts;
  Loader loader(scripts);
  for (const auto& file : files) STRATA_TRY(loader.Load(file));
  if (scripts.empty()) return Fail(ENOENT, "case files", directory);
  return scripts;
}

}  // namespace strata::conformance
