#include "server/config.h"

#include <span>
#include <unordered_set>

#include "lease/book.h"
#include "net/lease_wire.h"
#include "net/secret.h"

namespace weir::server {
namespace {

__extension__ using Wide = unsigned __int128;

// A part is well below a frame's bound, and small enough to be sent beside heartbeats.
constexpr std::size_t kPartBytesMax = 128U << 10;

std::unordered_set<std::string> parents_of(const std::vector<LimitRule>& rules) {
  std::unordered_set<std::string> parents;
  for (const LimitRule& rule : rules)
    if (!rule.cluster.parent.empty()) parents.insert(rule.cluster.parent);
  return parents;
}

v1::RuleFallback to_wire(shm::Fallback mode) noexcept {
  if (mode == shm::Fallback::open) return v1::RULE_FALLBACK_OPEN;
  if (mode == shm::Fallback::closed) return v1::RULE_FALLBACK_CLOSED;
  return v1::RULE_FALLBACK_LOCAL;
}

void to_push(const LimitRule& rule, v1::RulePush& push) {
  push.Clear();
  push.set_name(rule.name);
  push.set_limit(lease::limit_id(rule.name));
  push.set_description(rule.description);
  push.set_rate(static_cast<std::uint64_t>(micro_per_s(rule.amount, rule.period_ns)));
  push.set_burst(rule.burst * static_cast<std::uint64_t>(lease::kToken));
  push.set_amount(rule.amount);
  push.set_period_ns(rule.period_ns);
  push.set_per_host(rule.cluster.threshold == LimitThreshold::per_host);
  push.set_parent(rule.cluster.parent);
  push.set_weight(rule.cluster.weight);
  push.set_band(rule.cluster.band);
  push.set_floor_rate(static_cast<std::uint64_t>(
      micro_per_s(rule.cluster.floor_amount, rule.cluster.floor_period_ns)));
  const FallbackRule& fallback = rule.fallback;
  push.set_fallback(to_wire(fallback.mode));
  if (fallback.mode == shm::Fallback::local && !fallback.divided) {
    push.set_fallback_amount(fallback.amount);
    push.set_fallback_period_ns(fallback.period_ns);
    push.set_fallback_burst(fallback.burst * static_cast<std::uint64_t>(lease::kToken));
  }
  bool reserves = false;
  for (const std::uint32_t permille : rule.reserve_permille)
    reserves = reserves || permille != 0;
  if (!reserves) return;
  for (const std::uint32_t permille : rule.reserve_permille)
    push.add_reserve_permille(permille);
}

// Calls `visit` with each limit that agents get.
template <class Visit>
void for_each_push(const std::vector<LimitRule>& rules, Visit visit) {
  const auto parents = parents_of(rules);
  v1::RulePush push;
  for (const LimitRule& rule : rules) {
    if (parents.contains(rule.name)) continue;
    to_push(rule, push);
    visit(push);
  }
}

}  // namespace

ServerRules embedded_rules(const ClusterRule& cluster, const std::string& unix_path) {
  ServerRules rules;
  rules.listen = cluster.listen;
  if (!unix_path.empty()) rules.listen.push_back("unix:" + unix_path);
  rules.insecure = cluster.insecure;
  rules.tls = cluster.tls;
  rules.state_dir = cluster.state_dir;
  rules.http.clear();
  rules.lease = cluster.lease;
  NamespaceRule own;
  own.name = cluster.name_space;
  own.allow = cluster.allow;
  own.guard = cluster.guard;
  own.limits = cluster.limits;
  own.permits = cluster.permits;
  own.quotas = cluster.quotas;
  rules.store = cluster.store;
  rules.namespaces.push_back(std::move(own));
  return rules;
}

lease::Micro micro_per_s(std::uint64_t amount, std::uint64_t period_ns) noexcept {
  if (period_ns == 0) return 0;
  const Wide wide = static_cast<Wide>(amount) * static_cast<std::uint64_t>(lease::kToken) *
                    static_cast<std::uint64_t>(lease::kSecond) / period_ns;
  constexpr auto kMost = static_cast<Wide>(lease::kMicroMax);
  return static_cast<lease::Micro>(wide > kMost ? kMost : wide);
}

lease::LimitConfig limit_config(const LimitRule& rule) {
  lease::LimitConfig config;
  config.name = rule.name;
  config.rate = micro_per_s(rule.amount, rule.period_ns);
  config.burst = lease::mul_div(static_cast<lease::Micro>(rule.burst), lease::kToken, 1);
  config.burst = std::min(config.burst, lease::kMicroMax);
  config.threshold = rule.cluster.threshold == LimitThreshold::per_host ? lease::Threshold::per_host
                                                                        : lease::Threshold::global;
  config.parent = rule.cluster.parent;
  config.weight = rule.cluster.weight;
  config.band = rule.cluster.band;
  config.floor = micro_per_s(rule.cluster.floor_amount, rule.cluster.floor_period_ns);
  for (const HostShare& host : rule.cluster.hosts)
    config.hosts.push_back(
        {host.match, host.weight, host.band, micro_per_s(host.floor_amount, host.floor_period_ns)});
  return config;
}

std::vector<lease::LimitConfig> limit_configs(const std::vector<LimitRule>& rules) {
  std::vector<lease::LimitConfig> configs;
  configs.reserve(rules.size());
  for (const LimitRule& rule : rules)
    configs.push_back(limit_config(rule));
  return configs;
}

std::string limits_problem(const NamespaceRule& rule) {
  lease::BookOptions options;
  options.learn = false;
  lease::Book scratch(options, 0);
  std::string why;
  if (scratch.set_limits(limit_configs(rule.limits), 0, why)) return {};
  return "namespace " + rule.name + ": " + why;
}

std::uint64_t rules_version(const std::vector<LimitRule>& rules) {
  // Not a secret: any agent may work it out.
  static constexpr unsigned char kKey[16] = {'w', 'e', 'i', 'r'};
  std::string all;
  std::string one;
  for_each_push(rules, [&](const v1::RulePush& push) {
    one.clear();
    push.SerializeToString(&one);
    const std::uint64_t mac = net::mac64(kKey, std::as_bytes(std::span(one)));
    all.append(reinterpret_cast<const char*>(&mac), sizeof(mac));
  });
  const std::uint64_t version = net::mac64(kKey, std::as_bytes(std::span(all)));
  return version == 0 ? 1 : version;
}

RulesPush rules_push(const std::vector<LimitRule>& rules, std::uint32_t hosts) {
  RulesPush result;
  result.version = rules_version(rules);
  v1::ToAgent message;
  std::size_t part_bytes = 0;
  const auto finish = [&](bool more) {
    v1::Rules& part = *message.mutable_rules();
    part.set_rules_version(result.version);
    part.set_hosts(hosts);
    part.set_part(static_cast<std::uint32_t>(result.frames.size()));
    part.set_more(more);
    std::string frame;
    (void)net::append_frame(frame, message);  // far below the bound
    result.bytes += frame.size();
    result.frames.push_back(std::move(frame));
    message.Clear();
    part_bytes = 0;
  };
  for_each_push(rules, [&](const v1::RulePush& push) {
    const std::size_t bytes = push.ByteSizeLong();
    if (part_bytes + bytes > kPartBytesMax && part_bytes != 0) finish(true);
    *message.mutable_rules()->add_rules() = push;
    part_bytes += bytes;
  });
  finish(false);
  return result;
}

}  // namespace weir::server
