// The rules of style that a machine can check.
#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
// g++ 12 takes <regex> under the AddressSanitizer for a use of uninitialised memory (bug 105562).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "tests/arrows/source_tree.h"

namespace weir::arrows {
namespace {

constexpr std::size_t kLinesMax = 600;
constexpr std::size_t kColumnsMax = 100;

// The words are put together here, so that this file keeps its own rules.
const std::string kFix = std::string("FIX") + "ME";
const std::string kLater = std::string("TO") + "DO";

// In characters, not bytes: a continuation byte of UTF-8 takes no column.
std::size_t columns_of(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::vector<Violation> check_shape(const Source& source) {
  std::vector<Violation> found;
  if (source.lines.size() > kLinesMax)
    found.push_back({source.path, source.lines.size(), "longer than 600 lines"});
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string& line = source.lines[i];
    const auto note = [&](const std::string& what) { found.push_back({source.path, i + 1, what}); };
    if (columns_of(line) > kColumnsMax) note("longer than 100 columns");
    if (line.find('\t') != std::string::npos) note("a tabulator");
    if (line.ends_with(' ') || line.ends_with('\r')) note("white space at the end");
  }
  return found;
}

std::vector<Violation> check_words(const Source& source) {
  std::vector<Violation> found;
  // With a number: TO-DO(#12), or the word followed by #12.
  const std::regex numbered(kLater + "(\\(#\\d+\\)| #\\d+)");
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string& line = source.lines[i];
    if (line.find(kFix) != std::string::npos)
      found.push_back({source.path, i + 1, kFix + " is never left in"});
    if (line.find(kLater) != std::string::npos && !std::regex_search(line, numbered))
      found.push_back({source.path, i + 1, kLater + " without the number of its issue"});
  }
  return found;
}

// Decisions follow CLOCK_MONOTONIC and BOOTTIME. The time of day is for log lines, and for windows
// that follow the calendar, in one marked place.
std::vector<Violation> check_clocks(const Source& source) {
  std::vector<Violation> found;
  const std::regex wall("CLOCK_REALTIME|system_clock|gettimeofday");
  std::size_t marked = 0;
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string& line = source.lines[i];
    const std::string code = line.substr(0, line.find("//"));
    if (!std::regex_search(code, wall) || source.path.starts_with("daemon/log/")) continue;
    const bool calendar = source.path == "agent/app.cpp" &&
                          line.find("calendar windows", code.size()) != std::string::npos;
    const bool quotas = source.path == "server/wall_clock.h" &&
                        line.find("periods of quotas", code.size()) != std::string::npos;
    if ((calendar || quotas) && ++marked == 1) continue;
    found.push_back({source.path, i + 1, "reads the time of day"});
  }
  return found;
}

Source planted(const std::string& path, std::vector<std::string> lines) {
  return {path, std::move(lines)};
}

TEST(Tidy, FilesAndLinesAreShort) {
  for (const Source& source : sources_below(kAllFolders))
    for (const Violation& violation : check_shape(source))
      ADD_FAILURE() << to_text(violation);
}

TEST(Tidy, NothingIsLeftForLaterWithoutANumber) {
  for (const Source& source : sources_below(kAllFolders))
    for (const Violation& violation : check_words(source))
      ADD_FAILURE() << to_text(violation);
}

TEST(Tidy, NoDecisionFollowsTheTimeOfDay) {
  for (const Source& source : sources_below(kProductFolders))
    for (const Violation& violation : check_clocks(source))
      ADD_FAILURE() << to_text(violation);
}

TEST(Tidy, APlantedViolationIsSeen) {
  const std::vector<std::string> long_file(601, "int a;");
  EXPECT_EQ(check_shape(planted("shm/a.h", long_file)).size(), 1U);
  EXPECT_EQ(check_shape(planted("shm/a.h", {std::string(101, 'x')})).size(), 1U);
  EXPECT_EQ(check_shape(planted("shm/a.h", {"\tint a;"})).size(), 1U);
  EXPECT_EQ(check_shape(planted("shm/a.h", {"int a; "})).size(), 1U);
  EXPECT_EQ(check_words(planted("shm/a.h", {"// " + kFix + ": later"})).size(), 1U);
  EXPECT_EQ(check_words(planted("shm/a.h", {"// " + kLater + ": later"})).size(), 1U);
  EXPECT_EQ(check_words(planted("shm/a.h", {"// " + kLater + "(jo): later"})).size(), 1U);
  EXPECT_EQ(check_clocks(planted("net/a.cpp", {"::clock_gettime(CLOCK_REALTIME, &t);"})).size(),
            1U);
  EXPECT_EQ(
      check_clocks(planted("net/a.cpp", {"auto t = std::chrono::system_clock::now();"})).size(),
      1U);
  EXPECT_EQ(check_clocks(planted("net/a.cpp", {"  gettimeofday(&t, nullptr);"})).size(), 1U);
  const std::string marked =
      "::clock_gettime(CLOCK_REALTIME, &now);  // calendar windows follow it";
  EXPECT_EQ(check_clocks(planted("agent/domain.cpp", {marked})).size(), 1U);
  EXPECT_EQ(check_clocks(planted("agent/app.cpp", {marked, marked})).size(), 1U);
  EXPECT_EQ(check_clocks(planted("agent/app.cpp", {"clock_gettime(CLOCK_REALTIME, &t);"})).size(),
            1U);
}

TEST(Tidy, WhatIsAllowedIsNotSeen) {
  EXPECT_TRUE(check_shape(planted("shm/a.h", std::vector<std::string>(600, "int a;"))).empty());
  EXPECT_TRUE(check_shape(planted("shm/a.h", {std::string(100, 'x')})).empty());
  EXPECT_TRUE(check_words(planted("shm/a.h", {"// " + kLater + "(#12): later"})).empty());
  EXPECT_TRUE(
      check_clocks(planted("daemon/log/log.cpp", {"clock_gettime(CLOCK_REALTIME, &t);"})).empty());
  EXPECT_TRUE(
      check_clocks(planted("net/a.cpp", {"// not CLOCK_REALTIME, since it jumps"})).empty());
  EXPECT_TRUE(check_clocks(planted("agent/app.cpp",
                                   {"clock_gettime(CLOCK_REALTIME, &t);  // calendar windows"}))
                  .empty());
  EXPECT_TRUE(check_clocks(planted("net/a.cpp", {"steady_clock::now(); uptime(0);"})).empty());
}

}  // namespace
}  // namespace weir::arrows
