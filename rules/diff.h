// What differs between two sets of rules, in words for people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "rules/parse.h"

namespace weir {

enum class ChangeKind { added, removed, changed };
enum class ChangePlace { domain, cluster, server, name_space, resource, degrade };

struct FieldChange {
  std::string field;   // as in the file: "rate", "fallback.mode"
  std::string before;  // empty when the field did not apply
  std::string after;

  bool operator==(const FieldChange&) const = default;
};

struct RuleChange {
  ChangeKind kind = ChangeKind::changed;
  std::string domain;  // or the namespace; empty for the cluster and the server
  // Or the resource, or the degrade entry; empty: the domain, cluster, server or namespace itself.
  std::string limit;
  std::vector<FieldChange> fields;
  ChangePlace place = ChangePlace::domain;

  bool operator==(const RuleChange&) const = default;
};

// In the order of the new rules, with what was removed after what stayed. Where a rule stands in
// its file does not count.
std::vector<RuleChange> diff_rules(const RuleSet& before, const RuleSet& after);
std::vector<RuleChange> diff_rules(const ServerRules& before, const ServerRules& after);

// "~ default /api/order: rate 300/s -> 400/s, burst 300 -> 400"
std::string to_string(const RuleChange& change);

// A rule as fields and values in the language of the file, defaults included.
using Fields = std::vector<std::pair<std::string, std::string>>;
Fields describe(const LimitRule& limit);
Fields describe(const DomainRule& domain);
Fields describe(const ClusterRule& cluster);
Fields describe(const ServerRules& server);
Fields describe(const NamespaceRule& name_space);

}  // namespace weir
