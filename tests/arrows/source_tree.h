// The C and C++ sources of the repository, as text.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace weir::arrows {

struct Source {
  std::string path;  // from the root of the repository, with '/'
  std::vector<std::string> lines;
};

// One broken rule, said as a compiler would.
struct Violation {
  std::string path;
  std::size_t line = 0;
  std::string what;
};

inline std::vector<std::string> split_lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

inline bool is_source(const std::string& path) {
  constexpr std::array<std::string_view, 4> kEndings = {".h", ".hpp", ".cpp", ".c"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return path.ends_with(ending); });
}

// Every source below these folders; a folder that does not exist yet has none.
inline std::vector<Source> sources_below(const std::vector<std::string>& folders) {
  namespace fs = std::filesystem;
  const fs::path root(WEIR_SOURCE_DIR);
  std::vector<Source> sources;
  for (const std::string& folder : folders) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string path = fs::relative(entry.path(), root).generic_string();
      if (!entry.is_regular_file() || !is_source(path)) continue;
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      sources.push_back({path, split_lines(text.str())});
    }
  }
  std::sort(sources.begin(), sources.end(),
            [](const Source& a, const Source& b) { return a.path < b.path; });
  return sources;
}

// What is shipped, and what is ours at all.
inline const std::vector<std::string> kProductFolders = {
    "shm",    "libclient", "proto",  "lease", "net", "rules",
    "daemon", "adaptive",  "server", "agent", "sim"};
inline const std::vector<std::string> kAllFolders = [] {
  std::vector<std::string> folders = kProductFolders;
  folders.insert(folders.end(), {"tests", "bench", "examples"});
  return folders;
}();

inline std::string to_text(const Violation& violation) {
  return violation.path + ":" + std::to_string(violation.line) + ": " + violation.what;
}

}  // namespace weir::arrows
