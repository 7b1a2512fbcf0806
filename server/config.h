// From rules as operators write them to what the book and the agents need.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lease/limit_state.h"
#include "rules/parse.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

// What an agent's embedded server serves. `unix_path` is the agent's own way in.
ServerRules embedded_rules(const ClusterRule& cluster, const std::string& unix_path);

// Rounded down, so that the sum of what is granted is never above what the operator wrote.
lease::Micro micro_per_s(std::uint64_t amount, std::uint64_t period_ns) noexcept;

lease::LimitConfig limit_config(const LimitRule& rule);
std::vector<lease::LimitConfig> limit_configs(const std::vector<LimitRule>& rules);

// Why no book would take these limits, with the place; empty when it would.
std::string limits_problem(const NamespaceRule& rule);

// The limits of a namespace as agents get them. A limit with limits below it is divided among
// those and spent from by nobody, so that it stays with the server.
struct RulesPush {
  std::uint64_t version = 0;
  std::vector<std::string> frames;  // one for each part
  std::size_t bytes = 0;            // of all
};
RulesPush rules_push(const std::vector<LimitRule>& rules, std::uint32_t hosts);
std::uint64_t rules_version(const std::vector<LimitRule>& rules);

}  // namespace weir::server
