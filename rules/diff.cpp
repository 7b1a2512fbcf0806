#include "rules/diff.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "rules/duration.h"
#include "rules/text.h"

namespace weir {
namespace {

using shm::Algorithm;

std::string bracketed(const std::vector<std::string>& words) {
  std::string text = "[";
  text += join(words);
  text += "]";
  return text;
}

std::string describe_priority(const LimitRule& limit) {
  std::string text;
  for (std::size_t i = kClassNames.size(); i-- > 0;) {
    text += text.empty() ? "{" : ", ";
    text += std::string{kClassNames[i]} + ": " + format_permille(limit.reserve_permille[i]);
  }
  return text + "}";
}

void describe_fallback(const LimitRule& limit, Fields& fields) {
  const FallbackRule& fallback = limit.fallback;
  fields.emplace_back("fallback.mode", to_text(fallback.mode));
  if (fallback.mode == shm::Fallback::local) {
    fields.emplace_back("fallback.rate", format_rate({fallback.amount, fallback.period_ns}));
    fields.emplace_back("fallback.burst", std::to_string(fallback.burst));
  }
  fields.emplace_back("fallback.after", format_duration_ns(fallback.after_ms * 1'000'000));
}

// A description may have several lines; a change is one line of the log.
std::string on_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Fields that only one side has come with an empty other side.
std::vector<FieldChange> compare(const Fields& before, const Fields& after) {
  std::vector<FieldChange> changes;
  const auto value_in = [](const Fields& fields, std::string_view name) {
    for (const auto& [field, value] : fields) {
      if (field == name) return value;
    }
    return std::string{};
  };
  for (const auto& [field, value] : before) {
    const std::string now = value_in(after, field);
    if (now != value) changes.push_back({field, value, now});
  }
  for (const auto& [field, value] : after) {
    if (value_in(before, field).empty() && !value.empty()) changes.push_back({field, {}, value});
  }
  return changes;
}

template <class Rule>
using ByName = std::unordered_map<std::string_view, const Rule*>;

template <class Rule>
ByName<Rule> by_name(const std::vector<Rule>& rules) {
  ByName<Rule> map;
  for (const Rule& rule : rules)
    map.emplace(rule.name, &rule);
  return map;
}

void add(std::vector<RuleChange>& changes, const std::string& domain, const std::string& limit,
         const Fields& before, const Fields& after) {
  std::vector<FieldChange> fields = compare(before, after);
  if (fields.empty()) return;
  const ChangeKind kind = before.empty()  ? ChangeKind::added
                          : after.empty() ? ChangeKind::removed
                                          : ChangeKind::changed;
  changes.push_back({kind, domain, limit, std::move(fields)});
}

void diff_limits(const std::string& domain, const std::vector<LimitRule>& before,
                 const std::vector<LimitRule>& after, std::vector<RuleChange>& changes) {
  const ByName<LimitRule> old_limits = by_name(before);
  const ByName<LimitRule> new_limits = by_name(after);
  for (const LimitRule& limit : after) {
    const auto old = old_limits.find(limit.name);
    add(changes, domain, limit.name, old == old_limits.end() ? Fields{} : describe(*old->second),
        describe(limit));
  }
  for (const LimitRule& limit : before) {
    if (!new_limits.contains(limit.name)) add(changes, domain, limit.name, describe(limit), {});
  }
}

}  // namespace

Fields describe(const DomainRule& domain) {
  return {{"socket", domain.socket},
          {"allow.users", bracketed(domain.users)},
          {"allow.groups", bracketed(domain.groups)}};
}

Fields describe(const LimitRule& limit) {
  Fields fields;
  fields.emplace_back("algorithm", to_text(limit.algorithm));
  if (limit.algorithm == Algorithm::token_bucket || limit.algorithm == Algorithm::leaky_bucket) {
    fields.emplace_back("rate", format_rate({limit.amount, limit.period_ns}));
    fields.emplace_back(limit.algorithm == Algorithm::leaky_bucket ? "slack" : "burst",
                        std::to_string(limit.burst));
  } else {
    fields.emplace_back("limit", std::to_string(limit.amount));
    if (limit.calendar == CalendarUnit::none) {
      fields.emplace_back("window", format_duration_ns(limit.period_ns));
    } else {
      fields.emplace_back("calendar", to_text(limit.calendar));
      fields.emplace_back("timezone", limit.timezone);
    }
  }
  fields.emplace_back("priority", describe_priority(limit));
  fields.emplace_back("stripes", to_text(limit.stripes));
  describe_fallback(limit, fields);
  if (!limit.description.empty()) fields.emplace_back("description", limit.description);
  return fields;
}

std::vector<RuleChange> diff_rules(const RuleSet& before, const RuleSet& after) {
  std::vector<RuleChange> changes;
  const ByName<DomainRule> old_domains = by_name(before.domains);
  const ByName<DomainRule> new_domains = by_name(after.domains);
  for (const DomainRule& domain : after.domains) {
    const auto old = old_domains.find(domain.name);
    const bool fresh = old == old_domains.end();
    add(changes, domain.name, {}, fresh ? Fields{} : describe(*old->second), describe(domain));
    diff_limits(domain.name, fresh ? std::vector<LimitRule>{} : old->second->limits, domain.limits,
                changes);
  }
  for (const DomainRule& domain : before.domains) {
    if (new_domains.contains(domain.name)) continue;
    diff_limits(domain.name, domain.limits, {}, changes);
    add(changes, domain.name, {}, describe(domain), {});
  }
  return changes;
}

std::string to_string(const RuleChange& change) {
  const bool changed = change.kind == ChangeKind::changed;
  std::string text = changed ? "~ " : change.kind == ChangeKind::added ? "+ " : "- ";
  text += change.limit.empty() ? "domain " + change.domain : change.domain + " " + change.limit;
  std::string_view separator = ": ";
  for (const FieldChange& field : change.fields) {
    text += separator;
    separator = ", ";
    text += field.field + " ";
    if (changed) {
      text += (field.before.empty() ? "none" : field.before) + " -> " +
              (field.after.empty() ? "none" : field.after);
    } else {
      text += field.before + field.after;
    }
  }
  return on_one_line(std::move(text));
}

}  // namespace weir
