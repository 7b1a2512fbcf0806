// What several tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "rules/diff.h"
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

inline RuleSet rules_of(const std::string& text) {
  const ParseResult result = parse("version: 1\n" + text);
  for (const Problem& problem : result.problems)
    ADD_FAILURE() << to_string(problem);
  return result.ok() ? *result.rules : RuleSet{};
}
inline ServerParseResult parse_server(const std::string& text) {
  return parse_server_rules("version: 1\n" + text, "server.yaml");
}
inline ServerRules server_of(const std::string& text) {
  const ServerParseResult result = parse_server(text);
  for (const Problem& problem : result.problems)
    ADD_FAILURE() << to_string(problem);
  return result.ok() ? *result.rules : ServerRules{};
}

inline std::vector<std::string> diff(const std::string& before, const std::string& after) {
  std::vector<std::string> lines;
  for (const RuleChange& change : diff_rules(rules_of(before), rules_of(after)))
    lines.push_back(to_string(change));
  return lines;
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

inline std::string first_problem(const auto& result) {
  return result.problems.empty() ? std::string{} : to_string(result.problems.front());
}

inline std::string first_warning(const ParseResult& result) {
  return !result.ok() || result.rules->warnings.empty() ? std::string{}
                                                        : to_string(result.rules->warnings[0]);
}

}  // namespace weir
