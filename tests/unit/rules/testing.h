// What several tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "rules/parse.h"

namespace weir {

inline std::string test_dir() { return std::string{WEIR_SOURCE_DIR} + "/tests/unit/rules"; }
// Copies of a few zones, so that the tests need no installed tzdata.
inline std::string test_zones() { return test_dir() + "/zoneinfo"; }

inline std::string slurp(const std::string& path) {
  std::ifstream stream{path, std::ios::binary};
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline ParseResult parse(std::string_view text) {
  return parse_rules(text, "rules.yaml", {.zoneinfo_dir = test_zones()});
}

// The one limit of a file whose other fields are of no interest.
inline ParseResult parse_limit_fields(const std::string& fields) {
  return parse("version: 1\nlimits:\n  - {name: a, " + fields + "}\n");
}

inline LimitRule only_limit(const ParseResult& result) {
  for (const Problem& problem : result.problems)
    ADD_FAILURE() << to_string(problem);
  if (!result.ok() || result.rules->domains.at(0).limits.size() != 1) {
    ADD_FAILURE() << "not one limit";
    return {};
  }
  return result.rules->domains[0].limits[0];
}

inline std::string first_problem(const ParseResult& result) {
  return result.problems.empty() ? std::string{} : to_string(result.problems.front());
}

inline std::string first_warning(const ParseResult& result) {
  return !result.ok() || result.rules->warnings.empty() ? std::string{}
                                                        : to_string(result.rules->warnings[0]);
}

}  // namespace weir
