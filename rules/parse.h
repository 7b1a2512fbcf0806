// A rules file: text in, checked rules out. Everything that is wrong with a file is reported at
// once, with its place; a file with an error gives no rules at all.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rules/cluster.h"
#include "rules/rules.h"
#include "rules/toolkit.h"

namespace weir {

inline constexpr std::size_t kProblemsMax = 20;
inline constexpr std::size_t kDomainsMax = 16;
inline constexpr std::size_t kLimitsPerDomainMax = 1024;
inline constexpr std::size_t kDomainNameBytesMax = 63;
inline constexpr std::size_t kSocketNameBytesMax = 80;
inline constexpr std::size_t kDescriptionBytesMax = 1024;
inline constexpr std::size_t kAllowedMax = 256;  // users, and groups, of a domain
inline constexpr std::string_view kDefaultDomain = "default";
inline constexpr std::string_view kDefaultSocket = "agent.sock";
inline constexpr std::string_view kDefaultGroup = "weir";

// Who may spend from a set of limits. Users and groups are names or numbers, not yet looked up.
struct DomainRule {
  std::string name;
  std::string socket;  // a file name in the runtime directory
  std::vector<std::string> users;
  std::vector<std::string> groups;
  std::vector<LimitRule> limits;
  std::vector<ResourceConfig> resources;
  std::vector<DegradeConfig> degrades;
  int line = 0;  // 0: the domain that exists without being written

  bool operator==(const DomainRule&) const = default;
};

struct RuleSet {
  std::vector<DomainRule> domains;  // with the limits of this host alone
  ClusterRule cluster;              // and the cluster's
  std::vector<Problem> warnings;
};

struct ParseResult {
  std::optional<RuleSet> rules;   // absent when there is a problem
  std::vector<Problem> problems;  // in the order of the file, at most kProblemsMax
  std::size_t problems_left_out = 0;

  bool ok() const noexcept { return rules.has_value(); }
};

struct ServerParseResult {
  std::optional<ServerRules> rules;
  std::vector<Problem> problems;
  std::size_t problems_left_out = 0;

  bool ok() const noexcept { return rules.has_value(); }
};

struct ParseOptions {
  std::string zoneinfo_dir = "/usr/share/zoneinfo";
};

ParseResult parse_rules(std::string_view text, std::string file_name,
                        const ParseOptions& options = {}) noexcept;
ParseResult load_rules_file(const std::string& path, const ParseOptions& options = {}) noexcept;

// The same for a server's file.
ServerParseResult parse_server_rules(std::string_view text, std::string file_name,
                                     const ParseOptions& options = {}) noexcept;
ServerParseResult load_server_file(const std::string& path,
                                   const ParseOptions& options = {}) noexcept;
// Whether a text looks like a server's file rather than an agent's, broken or not: it has the key
// 'namespaces' and none of the agent's own.
bool looks_like_server_file(std::string_view text) noexcept;

}  // namespace weir
