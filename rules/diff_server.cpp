// What differs between two servers' files, and what agents and servers say of each other.
#include "rules/diff_parts.h"
#include "rules/duration.h"
#include "rules/quota_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

// Enough of a hash to tell it from another.
std::vector<std::string> shortened(const std::vector<std::string>& tokens) {
  constexpr std::size_t kShownBytes = 15;  // "sha256:" and 8 digits
  std::vector<std::string> shown;
  for (const std::string& token : tokens)
    shown.push_back(token.substr(0, kShownBytes) + "...");
  return shown;
}

void describe_access(const AccessRule& access, std::string_view prefix, Fields& fields) {
  const std::string start{prefix};
  fields.emplace_back(start + "tokens", bracketed(shortened(access.tokens)));
  fields.emplace_back(start + "certificates", bracketed(access.certificates));
}

void describe_tls(const std::string& key, const TlsRule& tls, bool clients, Fields& fields) {
  if (!tls.enabled) {
    fields.emplace_back(key, "off");
    return;
  }
  fields.emplace_back(key, "on");
  const auto path = [&](std::string_view part, const std::string& value) {
    if (!value.empty()) fields.emplace_back(key + "." + std::string{part}, value);
  };
  path("ca", tls.ca);
  path("certificate", tls.certificate);
  path("key", tls.key);
  path("server_name", tls.server_name);
  if (clients) {
    fields.emplace_back(key + ".clients", kTlsClientsNames[static_cast<std::size_t>(tls.clients)]);
  }
}

void describe_lease(const LeaseRule& lease, Fields& fields) {
  fields.emplace_back("lease.ttl", format_duration_ns(lease.ttl_ns));
  fields.emplace_back("lease.tail", format_duration_ns(lease.tail_ns));
  fields.emplace_back("lease.refresh", format_duration_ns(lease.refresh_ns));
}

std::string yes(bool value) { return value ? "true" : "false"; }

// In one line, in the words of the file.
std::string describe(const QuotaRule& quota) {
  std::string text{to_text(quota.kind)};
  if (quota.kind != QuotaKind::time) text += " " + std::to_string(quota.total);
  if (quota.every != QuotaEvery::none)
    text += " a " + std::string{to_text(quota.every)} + " in " + quota.timezone;
  if (quota.valid_ns != 0) text += ", valid " + format_duration_ns(quota.valid_ns);
  if (quota.rate_per_min != 0) text += ", rate " + std::to_string(quota.rate_per_min) + "/m";
  if (quota.rate_burst != 0) text += ", burst " + std::to_string(quota.rate_burst);
  text += ", chunk " + std::to_string(quota.chunk_min) + " to " + std::to_string(quota.chunk_max);
  text += ", keys " + std::string{kQuotaKeysNames[static_cast<std::size_t>(quota.keys)]};
  return text;
}

std::string describe(const StoreRule& store) {
  return "sync " + std::string{kStoreSyncNames[static_cast<std::size_t>(store.sync)]} +
         (store.unsafe ? ", unsafe" : "") + ", audit batch " + std::to_string(store.audit_batch) +
         ", flush " + std::to_string(store.audit_flush_ms) + "ms, queue " +
         std::to_string(store.audit_queue) + ", retention " + std::to_string(store.retention_days) +
         "d, cleaned every " + std::to_string(store.clean_every_h) + "h by " +
         std::to_string(store.clean_batch);
}

std::string describe(const ApiToken& token) {
  std::string text = std::string{to_text(token.role)} + " " + shortened({token.token}).front();
  if (!token.namespaces.empty()) text += " in " + bracketed(token.namespaces);
  return text;
}

}  // namespace

void ChangeList::add(const std::string& domain, const std::string& limit, const Fields& before,
                     const Fields& after) {
  const auto value_in = [](const Fields& fields, std::string_view name) {
    for (const auto& [field, value] : fields) {
      if (field == name) return value;
    }
    return std::string{};
  };
  // Fields that only one side has come with an empty other side.
  std::vector<FieldChange> changed;
  for (const auto& [field, value] : before) {
    const std::string now = value_in(after, field);
    if (now != value) changed.push_back({field, value, now});
  }
  for (const auto& [field, value] : after) {
    if (value_in(before, field).empty() && !value.empty()) changed.push_back({field, {}, value});
  }
  if (changed.empty()) return;
  const ChangeKind kind = before.empty()  ? ChangeKind::added
                          : after.empty() ? ChangeKind::removed
                                          : ChangeKind::changed;
  changes_.push_back({kind, domain, limit, std::move(changed), place_});
}

void ChangeList::add_limits(const std::string& domain, const std::vector<LimitRule>& before,
                            const std::vector<LimitRule>& after) {
  const ByName<LimitRule> old_limits = by_name(before);
  const ByName<LimitRule> new_limits = by_name(after);
  for (const LimitRule& limit : after) {
    const auto old = old_limits.find(limit.name);
    add(domain, limit.name, old == old_limits.end() ? Fields{} : describe(*old->second),
        describe(limit));
  }
  for (const LimitRule& limit : before) {
    if (!new_limits.contains(limit.name)) add(domain, limit.name, describe(limit), {});
  }
}

Fields describe(const ClusterRule& cluster) {
  Fields fields;
  fields.emplace_back("server", cluster.embedded() ? "embedded" : bracketed(cluster.servers));
  fields.emplace_back("namespace", cluster.name_space);
  fields.emplace_back("domain", cluster.domain);
  if (!cluster.host.empty()) fields.emplace_back("host", cluster.host);
  if (!cluster.token_file.empty()) fields.emplace_back("token_file", cluster.token_file);
  fields.emplace_back("request_timeout",
                      format_duration_ns(cluster.request_timeout_ms * 1'000'000));
  describe_tls("tls", cluster.tls, cluster.embedded(), fields);
  if (!cluster.embedded()) return fields;
  fields.emplace_back("listen", bracketed(cluster.listen));
  fields.emplace_back("insecure", yes(cluster.insecure));
  describe_access(cluster.allow, "allow.", fields);
  fields.emplace_back("guard", std::to_string(cluster.guard));
  describe_lease(cluster.lease, fields);
  if (!cluster.state_dir.empty()) fields.emplace_back("state_dir", cluster.state_dir);
  return fields;
}

Fields describe(const NamespaceRule& name_space) {
  Fields fields;
  describe_access(name_space.allow, {}, fields);
  fields.emplace_back("guard", std::to_string(name_space.guard));
  for (const QuotaRule& quota : name_space.quotas)
    fields.emplace_back("quota " + quota.name, describe(quota));
  for (const PermitLimit& limit : name_space.permits)
    fields.emplace_back("concurrency " + limit.name, "max " + std::to_string(limit.max));
  return fields;
}

Fields describe(const ServerRules& server) {
  Fields fields;
  fields.emplace_back("listen", bracketed(server.listen));
  fields.emplace_back("insecure", yes(server.insecure));
  describe_tls("tls", server.tls, true, fields);
  fields.emplace_back("state_dir", server.state_dir);
  fields.emplace_back("http", server.http.empty() ? "off" : server.http);
  describe_tls("http_tls", server.http_tls, false, fields);
  describe_lease(server.lease, fields);
  fields.emplace_back("idle_timeout", format_duration_ns(server.idle_timeout_ms * 1'000'000));
  fields.emplace_back("store", describe(server.store));
  for (const ApiToken& token : server.api)
    fields.emplace_back("api " + token.name, describe(token));
  return fields;
}

std::vector<RuleChange> diff_rules(const ServerRules& before, const ServerRules& after) {
  ChangeList changes;
  changes.set_place(ChangePlace::server);
  changes.add({}, {}, describe(before), describe(after));
  changes.set_place(ChangePlace::name_space);
  const ByName<NamespaceRule> old_ones = by_name(before.namespaces);
  const ByName<NamespaceRule> new_ones = by_name(after.namespaces);
  for (const NamespaceRule& each : after.namespaces) {
    const auto old = old_ones.find(each.name);
    const bool fresh = old == old_ones.end();
    changes.add(each.name, {}, fresh ? Fields{} : describe(*old->second), describe(each));
    changes.add_limits(each.name, fresh ? std::vector<LimitRule>{} : old->second->limits,
                       each.limits);
  }
  for (const NamespaceRule& each : before.namespaces) {
    if (new_ones.contains(each.name)) continue;
    changes.add_limits(each.name, each.limits, {});
    changes.add(each.name, {}, describe(each), {});
  }
  return changes.take();
}

}  // namespace weir
