#include "rules/diff.h"

#include <algorithm>
#include <string_view>

#include "rules/diff_parts.h"
#include "rules/duration.h"
#include "rules/text.h"
#include "rules/toolkit_parts.h"

namespace weir {
namespace {

using shm::Algorithm;

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
  const bool cluster = limit.scope == LimitScope::cluster;
  fields.emplace_back("fallback.mode", to_text(fallback.mode));
  if (fallback.divided) {
    fields.emplace_back("fallback.rate", "the limit divided by the hosts");
  } else if (fallback.mode == shm::Fallback::local) {
    fields.emplace_back("fallback.rate", format_rate({fallback.amount, fallback.period_ns}));
    fields.emplace_back("fallback.burst", std::to_string(fallback.burst));
  }
  if (cluster) return;
  fields.emplace_back("fallback.after", format_duration_ns(fallback.after_ms * 1'000'000));
}

void describe_share(std::uint32_t weight, std::uint32_t band, Rate floor, Fields& fields) {
  fields.emplace_back("weight", std::to_string(weight));
  fields.emplace_back("band", std::to_string(band));
  if (floor.period_ns != 0) fields.emplace_back("floor", format_rate(floor));
}

void describe_cluster(const ClusterLimit& cluster, Fields& fields) {
  fields.emplace_back("scope", "cluster");
  fields.emplace_back("threshold", to_text(cluster.threshold));
  if (!cluster.parent.empty()) {
    fields.emplace_back("parent", cluster.parent);
    describe_share(cluster.weight, cluster.band, {cluster.floor_amount, cluster.floor_period_ns},
                   fields);
  }
  std::string hosts;
  for (const HostShare& host : cluster.hosts) {
    Fields own{{"match", host.match}};
    describe_share(host.weight, host.band, {host.floor_amount, host.floor_period_ns}, own);
    hosts += hosts.empty() ? "{" : ", {";
    std::string_view separator;
    for (const auto& [field, value] : own) {
      hosts += separator;
      hosts += field;
      hosts += ": ";
      hosts += value;
      separator = ", ";
    }
    hosts += "}";
  }
  if (!hosts.empty()) fields.emplace_back("hosts", "[" + hosts + "]");
}

// A description may have several lines; a change is one line of the log.
std::string on_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

std::string bracketed(const std::vector<std::string>& words) {
  std::string text = "[";
  text += join(words);
  text += "]";
  return text;
}

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
  if (limit.scope == LimitScope::cluster) describe_cluster(limit.cluster, fields);
  fields.emplace_back("priority", describe_priority(limit));
  if (limit.scope == LimitScope::host) fields.emplace_back("stripes", to_text(limit.stripes));
  describe_fallback(limit, fields);
  if (!limit.description.empty()) fields.emplace_back("description", limit.description);
  return fields;
}

std::vector<RuleChange> diff_rules(const RuleSet& before, const RuleSet& after) {
  ChangeList changes;
  const ByName<DomainRule> old_domains = by_name(before.domains);
  const ByName<DomainRule> new_domains = by_name(after.domains);
  for (const DomainRule& domain : after.domains) {
    const auto old = old_domains.find(domain.name);
    const bool fresh = old == old_domains.end();
    changes.add(domain.name, {}, fresh ? Fields{} : describe(*old->second), describe(domain));
    changes.add_limits(domain.name, fresh ? std::vector<LimitRule>{} : old->second->limits,
                       domain.limits);
    add_toolkit_changes(fresh ? nullptr : old->second, &domain, changes);
  }
  for (const DomainRule& domain : before.domains) {
    if (new_domains.contains(domain.name)) continue;
    add_toolkit_changes(&domain, nullptr, changes);
    changes.add_limits(domain.name, domain.limits, {});
    changes.add(domain.name, {}, describe(domain), {});
  }
  changes.set_place(ChangePlace::cluster);
  changes.add({}, {}, before.cluster.present ? describe(before.cluster) : Fields{},
              after.cluster.present ? describe(after.cluster) : Fields{});
  changes.add_limits({}, before.cluster.limits, after.cluster.limits);
  return changes.take();
}

namespace {

std::string where(const RuleChange& change) {
  const std::string limit = change.limit.empty() ? std::string{} : " " + change.limit;
  switch (change.place) {
    case ChangePlace::cluster:
      return "cluster" + limit;
    case ChangePlace::server:
      return "server";
    case ChangePlace::name_space:
      return "namespace " + change.domain + limit;
    case ChangePlace::resource:
      return change.domain + " resource" + limit;
    case ChangePlace::degrade:
      return change.domain + " degrade" + limit;
    case ChangePlace::domain:
      break;
  }
  return limit.empty() ? "domain " + change.domain : change.domain + limit;
}

}  // namespace

std::string to_string(const RuleChange& change) {
  const bool changed = change.kind == ChangeKind::changed;
  std::string text = changed ? "~ " : change.kind == ChangeKind::added ? "+ " : "- ";
  text += where(change);
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
