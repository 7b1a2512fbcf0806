// Which folder may include which. No arrow points another way, and the link lists say the same.
#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
// g++ 12 takes <regex> under the AddressSanitizer for a use of uninitialised memory (bug 105562).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/arrows/source_tree.h"

namespace weir::arrows {
namespace {

// A part is a folder with arrows of its own; the longest prefix of a path decides.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"shm", {"adaptive"}},
    {"libclient", {"shm", "adaptive"}},
    {"proto", {}},
    {"lease", {}},
    {"net", {"proto"}},
    {"adaptive", {}},
    {"sim", {"lease", "adaptive"}},
    {"rules", {"shm"}},
    {"daemon", {"shm"}},
    {"server", {"rules", "daemon", "lease", "net", "proto"}},
    {"agent", {"rules", "daemon", "lease", "net", "shm", "proto", "server", "adaptive"}},
    {"agent/cli", {"rules", "net", "shm", "libclient", "proto"}},
};

std::optional<std::string> part_of(const std::string& path) {
  std::optional<std::string> best;
  for (const auto& [part, allowed] : kMayInclude)
    if (path.starts_with(part + "/") && (!best || part.size() > best->size())) best = part;
  return best;
}

// What an include with quotes names: a path from the root, the installed headers, or generated
// Protobuf code. A name alone is a file of the same folder.
std::optional<std::string> part_included(const std::string& name) {
  if (name.ends_with(".pb.h")) return "proto";
  if (name.starts_with("weir/")) return "libclient";
  return part_of(name);
}

std::vector<Violation> check_includes(const Source& source) {
  std::vector<Violation> found;
  const auto from = part_of(source.path);
  if (!from) return found;
  const std::regex include("\\s*#\\s*include\\s*[\"<]([^\">]+)[\">].*");
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_match(source.lines[i], match, include)) continue;
    const std::string name = match[1];
    const auto to = part_included(name);
    const bool ours = name.starts_with("tests/") || name.starts_with("bench/");
    if (ours) {
      found.push_back({source.path, i + 1, "a product includes " + name});
    } else if (to && *to != *from && !kMayInclude.at(*from).contains(*to)) {
      found.push_back({source.path, i + 1, *from + " may not include " + *to + " (" + name + ")"});
    }
  }
  return found;
}

// Headers that a folder's promise keeps out of it, whoever wrote them.
std::vector<Violation> check_foreign(const Source& source) {
  static const std::map<std::string, std::regex> kForbidden = {
      // shm/segment.cpp alone knows Boost.Interprocess.
      {"shm", std::regex("boost/(?!interprocess/).*|google/.*|spdlog/.*|fmt/.*")},
      // The asio header alone knows Boost.
      {"libclient",
       std::regex("boost/.*|google/.*|spdlog/.*|fmt/.*|thread|iostream|condition_variable")},
      // Pure: no clock, no I/O, no threads, nothing but the standard library.
      {"lease", std::regex(".*/.*|chrono|thread|mutex|fstream|iostream|.*\\.h")},
  };
  std::vector<Violation> found;
  const auto from = part_of(source.path);
  if (!from || !kForbidden.contains(*from)) return found;
  if (source.path == "libclient/include/weir/asio.hpp") return found;
  const bool may_map = source.path == "shm/segment.cpp";
  const std::regex include("\\s*#\\s*include\\s*<([^>]+)>.*");
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_match(source.lines[i], match, include)) continue;
    const std::string name = match[1];
    const bool unmapped = *from == "shm" && !may_map && name.starts_with("boost/");
    if (unmapped || std::regex_match(name, kForbidden.at(*from)))
      found.push_back({source.path, i + 1, *from + " may not include <" + name + ">"});
  }
  return found;
}

Source planted(const std::string& path, const std::string& line) { return {path, {line}}; }

TEST(Arrows, PointTheRightWay) {
  const auto sources = sources_below(kProductFolders);
  EXPECT_GT(sources.size(), 20U);
  for (const Source& source : sources)
    for (const Violation& violation : check_includes(source))
      ADD_FAILURE() << to_text(violation);
}

// docs/internals.md has a row for each part: | `part/` | what it is | `those`, `it includes` |
TEST(Arrows, AreWhatTheDocumentationSays) {
  std::ostringstream text;
  text << std::ifstream(std::string(WEIR_SOURCE_DIR) + "/docs/internals.md").rdbuf();
  std::map<std::string, std::set<std::string>> said;
  const std::regex row("\\| `([a-z/]+)/` \\| .* \\| ([^|]*) \\|");
  const std::regex word("`([a-z/]+)`");
  for (const std::string& line : split_lines(text.str())) {
    std::smatch match;
    if (!std::regex_match(line, match, row) || !kMayInclude.contains(match[1])) continue;
    const std::string column = match[2];
    auto& parts = said[match[1]];
    for (auto at = std::sregex_iterator(column.begin(), column.end(), word);
         at != std::sregex_iterator(); ++at)
      parts.insert((*at)[1]);
  }
  EXPECT_EQ(said, kMayInclude);
}

TEST(Arrows, KeepForeignHeadersOut) {
  for (const Source& source : sources_below(kProductFolders))
    for (const Violation& violation : check_foreign(source))
      ADD_FAILURE() << to_text(violation);
}

TEST(Arrows, APlantedOneIsSeen) {
  const std::vector<Source> wrong = {
      planted("shm/a.h", "#include \"libclient/client.h\""),
      planted("shm/a.h", "#include \"weir/weir.h\""),
      planted("shm/a.h", "#include <weir/weir.h>"),
      planted("libclient/a.cpp", "#include \"agent/app.h\""),
      planted("libclient/a.cpp", "#  include \"net/frame.h\" // why not"),
      planted("proto/a.h", "#include \"shm/layout.h\""),
      planted("lease/a.h", "#include \"shm/layout.h\""),
      planted("net/a.cpp", "#include \"shm/fd.h\""),
      planted("net/a.cpp", "#include \"agent/app.h\""),
      planted("agent/a.cpp", "#include \"agent/cli/app.h\""),
      planted("agent/http/a.cpp", "#include \"libclient/client.h\""),
      planted("rules/a.cpp", "#include \"agent/cli/app.h\""),
      planted("agent/cli/a.cpp", "#include \"agent/app.h\""),
      planted("agent/cli/a.cpp", "#include \"agent/http/metrics.h\""),
      planted("server/a.cpp", "#include \"agent/app.h\""),
      planted("server/a.cpp", "#include \"shm/layout.h\""),
      planted("server/a.cpp", "#include \"tests/unit/cli/fake_agent.h\""),
  };
  for (const Source& source : wrong)
    EXPECT_EQ(check_includes(source).size(), 1U) << source.path << ": " << source.lines[0];

  const std::vector<Source> right = {
      planted("shm/a.cpp", "#include \"shm/layout.h\""),
      planted("libclient/a.cpp", "#include \"shm/layout.h\""),
      planted("libclient/a.cpp", "#include \"weir/weir.h\""),
      planted("net/a.cpp", "#include \"weir/v1/admin.pb.h\""),
      planted("agent/a.cpp", "#include \"rules/rules.h\""),
      planted("agent/http/a.cpp", "#include \"daemon/log/log.h\""),
      planted("agent/cli/a.cpp", "#include \"rules/rules.h\""),
      planted("agent/cli/a.cpp", "#include \"weir/weir.h\""),
      planted("agent/a.cpp", "#include \"server/embedded.h\""),
      planted("server/a.cpp", "#include \"lease/book.h\""),
      planted("tests/a.cpp", "#include \"agent/app.h\""),
  };
  for (const Source& source : right)
    EXPECT_TRUE(check_includes(source).empty()) << source.path << ": " << source.lines[0];
}

TEST(Arrows, APlantedForeignHeaderIsSeen) {
  const std::vector<Source> wrong = {
      planted("shm/view.h", "#include <boost/interprocess/mapped_region.hpp>"),
      planted("shm/segment.cpp", "#include <boost/asio.hpp>"),
      planted("libclient/wait.cpp", "#include <boost/asio.hpp>"),
      planted("libclient/include/weir/weir.hpp", "#include <boost/asio.hpp>"),
      planted("libclient/wait.cpp", "#include <thread>"),
      planted("lease/book.h", "#include <chrono>"),
      planted("lease/book.h", "#include <sys/socket.h>"),
  };
  for (const Source& source : wrong)
    EXPECT_EQ(check_foreign(source).size(), 1U) << source.path << ": " << source.lines[0];

  EXPECT_TRUE(
      check_foreign(planted("shm/segment.cpp", "#include <boost/interprocess/mapped_region.hpp>"))
          .empty());
  EXPECT_TRUE(
      check_foreign(planted("libclient/include/weir/asio.hpp", "#include <boost/asio/post.hpp>"))
          .empty());
  EXPECT_TRUE(check_foreign(planted("lease/book.h", "#include <vector>")).empty());
}

}  // namespace
}  // namespace weir::arrows
