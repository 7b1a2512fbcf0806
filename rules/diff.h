// What differs between two sets of rules, in words for people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "rules/parse.h"

namespace weir {

enum class ChangeKind { added, removed, changed };

struct FieldChange {
  std::string field;   // as in the file: "rate", "fallback.mode"
  std::string before;  // empty when the field did not apply
  std::string after;

  bool operator==(const FieldChange&) const = default;
};

struct RuleChange {
  ChangeKind kind = ChangeKind::changed;
  std::string domain;
  std::string limit;  // empty: the domain itself
  std::vector<FieldChange> fields;

  bool operator==(const RuleChange&) const = default;
};

// In the order of the new rules, with what was removed after what stayed. Where a rule stands in
// its file does not count.
std::vector<RuleChange> diff_rules(const RuleSet& before, const RuleSet& after);

// "~ default /api/order: rate 300/s -> 400/s, burst 300 -> 400"
std::string to_string(const RuleChange& change);

// A rule as fields and values in the language of the file, defaults included.
using Fields = std::vector<std::pair<std::string, std::string>>;
Fields describe(const LimitRule& limit);
Fields describe(const DomainRule& domain);

}  // namespace weir
