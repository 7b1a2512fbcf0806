#include "agent/upstream/pushed_rules.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <unordered_set>

#include "agent/upstream/whole_file.h"
#include "lease/messages.h"
#include "rules/text.h"
#include "shm/layout.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

constexpr std::size_t kLimitsMax = 1024;  // of a domain

Fallback mode_of(v1::RuleFallback mode) noexcept {
  if (mode == v1::RULE_FALLBACK_OPEN) return Fallback::open;
  // What a newer server means by another word is not known here: the safe one.
  return mode == v1::RULE_FALLBACK_LOCAL ? Fallback::local : Fallback::closed;
}

v1::RuleFallback to_wire(Fallback mode) noexcept {
  if (mode == Fallback::open) return v1::RULE_FALLBACK_OPEN;
  return mode == Fallback::local ? v1::RULE_FALLBACK_LOCAL : v1::RULE_FALLBACK_CLOSED;
}

std::optional<LimitRule> to_limit(const v1::RulePush& push) {
  LimitRule rule;
  rule.name = push.name();
  rule.description = push.description();
  rule.amount = push.amount();
  rule.period_ns = push.period_ns();
  rule.burst = push.burst() / static_cast<std::uint64_t>(lease::kToken);
  rule.scope = LimitScope::cluster;
  rule.cluster.threshold = push.per_host() ? LimitThreshold::per_host : LimitThreshold::global;
  rule.cluster.parent = push.parent();
  rule.fallback.mode = mode_of(push.fallback());
  if (rule.fallback.mode == Fallback::local) {
    rule.fallback.divided = push.fallback_period_ns() == 0;
    const bool divided = rule.fallback.divided;
    rule.fallback.amount = divided ? rule.amount : push.fallback_amount();
    rule.fallback.period_ns = divided ? rule.period_ns : push.fallback_period_ns();
    rule.fallback.burst =
        divided ? rule.burst : push.fallback_burst() / static_cast<std::uint64_t>(lease::kToken);
  }
  for (int i = 0; i < push.reserve_permille_size() && i < int{kClasses}; ++i)
    rule.reserve_permille[static_cast<std::size_t>(i)] = std::min(push.reserve_permille(i), 1000U);
  const bool fits = !rule.name.empty() && rule.name.size() <= kNameBytesMax &&
                    rule.name.find('\0') == std::string::npos && rule.period_ns != 0 &&
                    rule.burst >= 1 && rule.burst <= kBurstMax && rule.fallback.burst <= kBurstMax;
  if (!fits) return std::nullopt;
  return rule;
}

void to_push(const LimitRule& rule, v1::RulePush& push) {
  push.set_name(rule.name);
  push.set_description(rule.description);
  push.set_amount(rule.amount);
  push.set_period_ns(rule.period_ns);
  push.set_burst(rule.burst * static_cast<std::uint64_t>(lease::kToken));
  push.set_per_host(rule.cluster.threshold == LimitThreshold::per_host);
  push.set_parent(rule.cluster.parent);
  push.set_fallback(to_wire(rule.fallback.mode));
  if (rule.fallback.mode == Fallback::local && !rule.fallback.divided) {
    push.set_fallback_amount(rule.fallback.amount);
    push.set_fallback_period_ns(rule.fallback.period_ns);
    push.set_fallback_burst(rule.fallback.burst * static_cast<std::uint64_t>(lease::kToken));
  }
  for (const std::uint32_t permille : rule.reserve_permille)
    push.add_reserve_permille(permille);
}

}  // namespace

std::optional<PushedRules> RulesAssembler::take(const v1::Rules& part) {
  if (part.part() == 0) {
    whole_ = part;
  } else if (part.part() == next_part_ && part.rules_version() == whole_.rules_version()) {
    for (const v1::RulePush& push : part.rules())
      *whole_.add_rules() = push;
  } else {
    next_part_ = 0;
    whole_.Clear();
    return std::nullopt;  // a part was missed: the next part 0 begins anew
  }
  next_part_ = part.part() + 1;
  if (part.more() && static_cast<std::size_t>(whole_.rules_size()) <= kLimitsMax)
    return std::nullopt;
  PushedRules rules = to_rules(whole_);
  whole_.Clear();
  return rules;
}

PushedRules to_rules(const v1::Rules& whole) {
  PushedRules rules;
  rules.version = whole.rules_version();
  rules.hosts = whole.hosts();
  std::unordered_set<std::string> names;
  for (const v1::RulePush& push : whole.rules()) {
    auto limit = to_limit(push);
    if (limit && rules.limits.size() < kLimitsMax && names.insert(limit->name).second)
      rules.limits.push_back(std::move(*limit));
    else
      ++rules.skipped;
  }
  return rules;
}

std::vector<LimitRule> leaves_of(const std::vector<LimitRule>& limits) {
  std::unordered_set<std::string> parents;
  for (const LimitRule& limit : limits)
    parents.insert(limit.cluster.parent);
  std::vector<LimitRule> leaves;
  for (const LimitRule& limit : limits)
    if (!parents.contains(limit.name)) leaves.push_back(limit);
  return leaves;
}

std::string save_rules(const std::string& path, const PushedRules& rules) {
  v1::Rules whole;
  whole.set_rules_version(rules.version);
  whole.set_hosts(rules.hosts);
  for (const LimitRule& limit : rules.limits)
    to_push(limit, *whole.add_rules());
  return write_whole_file(path, whole.SerializeAsString());
}

PushedRules load_rules(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  v1::Rules whole;
  if (!in || !whole.ParseFromString(text.str())) return {};
  return to_rules(whole);
}

}  // namespace weir::agent
