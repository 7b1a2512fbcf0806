// One entry of 'resources'.
#include <algorithm>
#include <array>

#include "rules/text.h"
#include "rules/toolkit_parts.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 8> kResourceKeys{
    "name", "domain", "description", "concurrency", "shed", "breaker", "retry_budget", "deadline"};
constexpr std::array<std::string_view, 6> kConcurrencyKeys{"max",   "priority", "tenants",
                                                           "lease", "scope",    "fallback"};
constexpr std::array<std::string_view, 2> kTenantKeys{"name", "max"};
constexpr std::array<std::string_view, 10> kShedKeys{
    "kind", "gate", "cpu", "psi", "throttled", "hold", "min", "blind_limit", "max", "tolerance"};
constexpr std::array<std::string_view, 15> kBreakerKeys{
    "kind",          "window",      "volume", "error_rate", "slow_rate",
    "slow_call",     "consecutive", "open",   "open_max",   "growth",
    "probe_timeout", "probes",      "calm",   "k",          "probe_rate"};
constexpr std::array<std::string_view, 6> kRetryKeys{"percent",  "floor",   "ttl",
                                                     "attempts", "backoff", "backoff_max"};
constexpr std::array<std::string_view, 2> kDeadlineKeys{"default", "max"};

constexpr std::uint64_t kMsNs = 1'000'000;
constexpr std::uint32_t kAttemptsMax = 100;
constexpr std::uint32_t kRatePerSMilliMax = 1'000'000'000;
constexpr std::uint32_t kConsecutiveMax = 1'000'000;
constexpr std::uint64_t kVolumeMax = 1'000'000'000;
constexpr std::uint64_t kAdaptiveWindowNs = 120 * kSecondNs;
constexpr std::uint64_t kAdaptiveVolume = 100;

// A key that goes with one of the kinds alone, by the index of the kind.
struct KindKey {
  std::string_view key;
  std::size_t kind;
};
constexpr std::array<KindKey, 8> kShedKindKeys{{{"gate", 1},
                                                {"cpu", 1},
                                                {"psi", 1},
                                                {"throttled", 1},
                                                {"hold", 1},
                                                {"blind_limit", 1},
                                                {"max", 2},
                                                {"tolerance", 2}}};
constexpr std::array<KindKey, 12> kBreakerKindKeys{{{"error_rate", 1},
                                                    {"slow_rate", 1},
                                                    {"slow_call", 1},
                                                    {"consecutive", 1},
                                                    {"open", 1},
                                                    {"open_max", 1},
                                                    {"growth", 1},
                                                    {"probe_timeout", 1},
                                                    {"probes", 1},
                                                    {"calm", 1},
                                                    {"k", 2},
                                                    {"probe_rate", 2}}};

void refuse_foreign_keys(const MapReader& map, std::size_t kind, std::span<const KindKey> uses,
                         std::span<const std::string_view> kinds) {
  for (const KindKey& use : uses) {
    if (use.kind == kind || !map.has(use.key)) continue;
    map.error(use.key, quote_word(use.key) + " goes with kind: " + std::string{kinds[use.kind]} +
                           " alone, not with kind: " + std::string{kinds[kind]});
  }
}

template <class Number>
void read_count(const MapReader& map, std::string_view key, std::string_view example,
                std::uint64_t least, std::uint64_t most, Number& into) {
  const auto value = map.value(
      key, example, [&](std::string_view text) { return parse_count_within(text, least, most); });
  if (value) into = static_cast<Number>(*value);
}

void read_time(const MapReader& map, std::string_view key, std::string_view example,
               std::uint64_t least_ns, std::uint64_t most_ns, std::uint64_t& into) {
  const auto value = map.value(key, example, [&](std::string_view text) {
    return parse_duration_within(text, least_ns, most_ns);
  });
  if (value) into = *value;
}

void read_share(const MapReader& map, std::string_view key, std::string_view example,
                std::uint32_t& into) {
  if (const auto value = map.value(key, example, parse_permille)) into = *value;
}

void read_factor(const MapReader& map, std::string_view key, std::string_view example,
                 std::uint32_t least, std::uint32_t most, std::uint32_t& into) {
  const auto value = map.value(
      key, example, [&](std::string_view text) { return parse_factor_within(text, least, most); });
  if (value) into = *value;
}

// A rate in thousandths a second.
Parsed<std::uint64_t> parse_per_s_milli(std::string_view text) {
  const Parsed<Rate> rate = parse_rate(text);
  if (!rate.value) return {std::nullopt, rate.error};
  __extension__ using Wide = unsigned __int128;
  const Wide milli = Wide{rate.value->amount} * kSecondNs * 1000 / rate.value->period_ns;
  if (rate.value->amount != 0 && milli == 0) return {std::nullopt, "is less than 0.001/s"};
  if (milli > kRatePerSMilliMax) return {std::nullopt, "is above 1M/s"};
  return {static_cast<std::uint64_t>(milli), {}};
}

void read_rate(const MapReader& map, std::string_view key, std::string_view example,
               std::uint32_t& into) {
  if (const auto value = map.value(key, example, parse_per_s_milli)) {
    into = static_cast<std::uint32_t>(*value);
  }
}

class ResourceParser {
 public:
  ResourceParser(const MapReader& map, ParseContext& context) : map_(map), context_(context) {}

  void read(ResourceConfig& config) {
    read_description(config);
    read_concurrency(config.concurrency);
    read_shed(config.shed);
    read_breaker(config.breaker);
    read_retry(config.retry);
    read_deadline(config.deadline);
    const bool any = config.concurrency.present || config.shed.kind != ShedKind::off ||
                     config.breaker.kind != BreakerKind::off || config.retry.present ||
                     config.deadline.present;
    const bool said = map_.has("concurrency") || map_.has("shed") || map_.has("breaker") ||
                      map_.has("retry_budget") || map_.has("deadline");
    // What is unknown may be a slip in the name of just that.
    if (any || said || context_.reporter.failed()) return;
    context_.reporter.error(map_.place(),
                            "a resource needs something that protects it; allowed: concurrency, "
                            "shed, breaker, retry_budget, deadline");
  }

 private:
  // Whether the key has a single value in place of a map.
  bool is_short(std::string_view key) const {
    const YamlEntry* entry = map_.find(key);
    return entry != nullptr && entry->value->kind == YamlKind::scalar;
  }
  bool absent(std::string_view key) const {
    const YamlEntry* entry = map_.find(key);
    return entry == nullptr || entry->value->kind == YamlKind::null;
  }
  const YamlNode& node(std::string_view key) const { return *map_.find(key)->value; }

  void read_description(ResourceConfig& config) {
    const auto text = map_.scalar("description", "'the database of orders'");
    if (!text) return;
    config.description = *text;
    std::string visible{*text};
    std::erase(visible, '\n');
    if (text->size() > kDescriptionBytesMax) {
      map_.error("description", "description is longer than 1024 bytes");
    } else if (has_control_character(visible)) {
      map_.error("description", "description holds a control character");
    }
  }

  void read_concurrency(ConcurrencyConfig& config) {
    if (absent("concurrency")) return;
    config.present = true;
    if (is_short("concurrency")) {
      return read_count(map_, "concurrency", "200", 1, kConcurrencyMax, config.max);
    }
    const MapReader map{node("concurrency"), "'concurrency'", kConcurrencyKeys, context_.reporter};
    if (!map.valid()) return;
    if (!map.has("max")) {
      context_.reporter.error(map.place(), "'concurrency' needs 'max', such as max: 200");
    }
    read_count(map, "max", "200", 1, kConcurrencyMax, config.max);
    read_class_shares(map, config.max, config.reserve_permille, context_);
    read_time(map, "lease", "60s", 100 * kMsNs, kDayNs, config.lease_ns);
    if (const auto scope = map.choice("scope", kScopeNames)) {
      config.cluster = static_cast<LimitScope>(*scope) == LimitScope::cluster;
    }
    if (const auto mode = map.choice("fallback", kFallbackNames)) {
      config.fallback = static_cast<shm::Fallback>(*mode);
      if (!config.cluster) map.error("fallback", "'fallback' goes with scope: cluster alone");
    }
    read_tenants(map, config);
  }

  void read_tenants(const MapReader& map, ConcurrencyConfig& config) {
    const YamlEntry* entry = map.find("tenants");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    if (entry->value->kind != YamlKind::sequence) {
      return map.error("tenants", "'tenants' must be a list such as [{name: gold, max: 50}]");
    }
    for (const YamlRef& item : entry->value->items) {
      if (config.tenants.size() == kTenantsMax) {
        return context_.reporter.error(item->place, "more than 64 tenants of one resource");
      }
      read_tenant(*item, config);
    }
  }

  void read_tenant(const YamlNode& item, ConcurrencyConfig& config) {
    const MapReader map{item, "a tenant", kTenantKeys, context_.reporter};
    if (!map.valid()) return;
    for (const std::string_view key : kTenantKeys) {
      if (!map.has(key)) {
        context_.reporter.error(
            item.place, "a tenant needs " + quote_word(key) + ", such as {name: gold, max: 50}");
      }
    }
    TenantConfig tenant;
    const auto name = map.scalar("name", "gold");
    if (name && !is_plain_name(*name, kTenantNameBytesMax)) {
      map.error("name", "tenant " + quote(*name) +
                            " is not allowed; allowed: 1 to 63 of a-z A-Z 0-9 . _ -, with a "
                            "letter or digit first");
      return;
    }
    if (!name) return;
    tenant.name = *name;
    read_count(map, "max", "50", 1, kConcurrencyMax, tenant.max);
    if (tenant.max > config.max && config.max != 0) {
      map.error("max", "max " + std::to_string(tenant.max) + " is above the resource's own " +
                           std::to_string(config.max));
    }
    const auto same = [&](const TenantConfig& each) { return each.name == tenant.name; };
    if (std::any_of(config.tenants.begin(), config.tenants.end(), same)) {
      map.error("name", "the tenant " + quote(tenant.name) + " stands twice");
      return;
    }
    config.tenants.push_back(std::move(tenant));
  }

  void read_shed(ShedConfig& config) {
    if (absent("shed")) return;
    if (is_short("shed")) {
      if (const auto kind = map_.choice("shed", kShedKindNames)) {
        config.kind = static_cast<ShedKind>(*kind);
      }
      return;
    }
    const MapReader map{node("shed"), "'shed'", kShedKeys, context_.reporter};
    if (!map.valid()) return;
    config.kind = ShedKind::bbr;
    if (map.has("kind")) {
      const auto kind = map.choice("kind", kShedKindNames);
      if (!kind) return;
      config.kind = static_cast<ShedKind>(*kind);
    }
    refuse_foreign_keys(map, static_cast<std::size_t>(config.kind), kShedKindKeys, kShedKindNames);
    read_gate(map, config);
    read_time(map, "hold", "1s", 10 * kMsNs, kMinuteNs, config.hold_ns);
    read_count(map, "min", "2", 1, kConcurrencyMax, config.min);
    read_count(map, "blind_limit", "100", 0, kConcurrencyMax, config.blind_limit);
    read_count(map, "max", "1000", 1, kConcurrencyMax, config.max);
    read_factor(map, "tolerance", "1.2", 1000, 10'000, config.tolerance_permille);
    if (config.kind == ShedKind::gradient && config.max < config.min) {
      map.error("max", "max " + std::to_string(config.max) + " is below min " +
                           std::to_string(config.min));
    }
  }

  // The signals that open the gate, and their thresholds.
  void read_gate(const MapReader& map, ShedConfig& config) {
    const std::array<std::uint32_t*, 3> thresholds{&config.cpu_permille, &config.psi_permille,
                                                   &config.throttled_permille};
    std::array<bool, 3> used{true, true, true};
    if (map.has("gate")) {
      used.fill(false);
      const auto items = read_list(map, "gate", used.size(), "[cpu, psi]", context_.reporter);
      for (const ListItem& item : items) {
        if (const auto index = index_of(kShedGateNames, item.text)) {
          used[*index] = true;
        } else {
          context_.reporter.error(item.place, unknown_word("gate", item.text, kShedGateNames));
        }
      }
    }
    for (std::size_t i = 0; i < used.size(); ++i) {
      const std::string_view name = kShedGateNames[i];
      const auto share = map.value(name, "80%", [](std::string_view text) {
        Parsed<std::uint32_t> parsed = parse_permille(text);
        if (parsed.value && *parsed.value == 0) {
          parsed = {std::nullopt, "sheds always; allowed: 0.1% to 99.9%, or no such gate"};
        }
        return parsed;
      });
      if (share) *thresholds[i] = *share;
      if (used[i]) continue;
      if (map.has(name)) {
        map.error(name, quote_word(name) + " is the threshold of a signal that is not in 'gate'");
      }
      *thresholds[i] = 0;
    }
  }

  void read_breaker(BreakerConfig& config) {
    if (absent("breaker")) return;
    if (is_short("breaker")) {
      if (const auto kind = map_.choice("breaker", kBreakerKindNames)) {
        config.kind = static_cast<BreakerKind>(*kind);
      }
      return defaults_of_kind(config);
    }
    const MapReader map{node("breaker"), "'breaker'", kBreakerKeys, context_.reporter};
    if (!map.valid()) return;
    config.kind = BreakerKind::states;
    if (map.has("kind")) {
      const auto kind = map.choice("kind", kBreakerKindNames);
      if (!kind) return;
      config.kind = static_cast<BreakerKind>(*kind);
    }
    defaults_of_kind(config);
    refuse_foreign_keys(map, static_cast<std::size_t>(config.kind), kBreakerKindKeys,
                        kBreakerKindNames);
    read_time(map, "window", "10s", kSecondNs, kHourNs, config.window_ns);
    read_count(map, "volume", "20", 1, kVolumeMax, config.volume);
    read_share(map, "error_rate", "50%", config.error_permille);
    read_slow(map, config);
    read_count(map, "consecutive", "5", 0, kConsecutiveMax, config.consecutive);
    read_open(map, config);
    read_factor(map, "k", "2", 1000, 10'000, config.k_permille);
    read_rate(map, "probe_rate", "1/s", config.probes_per_s_milli);
    if (map.has("probe_rate") && config.probes_per_s_milli == 0) {
      map.error("probe_rate", "probe_rate of 0 would never notice that the other end is back");
    }
    if (config.kind == BreakerKind::states && config.error_permille == 0 &&
        config.slow_permille == 0 && config.consecutive == 0) {
      context_.reporter.error(map.place(),
                              "this breaker never opens: error_rate, slow_rate and consecutive "
                              "are all 0; allowed: one of them, or kind: off");
    }
  }

  static void defaults_of_kind(BreakerConfig& config) {
    if (config.kind != BreakerKind::adaptive) return;
    config.window_ns = kAdaptiveWindowNs;
    config.volume = kAdaptiveVolume;
  }

  void read_slow(const MapReader& map, BreakerConfig& config) {
    read_share(map, "slow_rate", "50%", config.slow_permille);
    read_time(map, "slow_call", "1s", 1000, kHourNs, config.slow_call_ns);
    if (map.has("slow_rate") && config.slow_permille != 0 && !map.has("slow_call")) {
      map.error("slow_rate", "'slow_rate' needs 'slow_call', such as slow_call: 1s");
    }
    if (map.has("slow_call") && !map.has("slow_rate")) {
      map.error("slow_call", "'slow_call' needs 'slow_rate', such as slow_rate: 50%");
    }
  }

  void read_open(const MapReader& map, BreakerConfig& config) {
    read_time(map, "open", "5s", 10 * kMsNs, kHourNs, config.open_ns);
    if (!map.has("open_max")) config.open_max_ns = std::max(config.open_max_ns, config.open_ns);
    read_time(map, "open_max", "5m", 10 * kMsNs, kDayNs, config.open_max_ns);
    if (config.open_max_ns < config.open_ns) {
      map.error("open_max", "open_max " + format_duration_ns(config.open_max_ns) +
                                " is shorter than open " + format_duration_ns(config.open_ns));
    }
    read_factor(map, "growth", "2", 1000, 10'000, config.growth_permille);
    read_time(map, "probe_timeout", "2s", 10 * kMsNs, kHourNs, config.probe_timeout_ns);
    read_count(map, "probes", "1", 1, 7, config.probes);
    read_time(map, "calm", "1m", kSecondNs, kDayNs, config.calm_ns);
  }

  void read_retry(RetryConfig& config) {
    if (absent("retry_budget")) return;
    config.present = true;
    if (is_short("retry_budget")) {
      return read_share(map_, "retry_budget", "10%", config.share_permille);
    }
    const MapReader map{node("retry_budget"), "'retry_budget'", kRetryKeys, context_.reporter};
    if (!map.valid()) return;
    read_share(map, "percent", "10%", config.share_permille);
    read_rate(map, "floor", "1/s", config.floor_per_s_milli);
    read_time(map, "ttl", "10s", kSecondNs, kHourNs, config.ttl_ns);
    read_count(map, "attempts", "3", 1, kAttemptsMax, config.attempts);
    read_time(map, "backoff", "25ms", kMsNs, kMinuteNs, config.backoff_ns);
    if (!map.has("backoff_max")) {
      config.backoff_max_ns = std::max(config.backoff_max_ns, config.backoff_ns);
    }
    read_time(map, "backoff_max", "10s", kMsNs, kHourNs, config.backoff_max_ns);
    if (config.backoff_max_ns < config.backoff_ns) {
      map.error("backoff_max", "backoff_max " + format_duration_ns(config.backoff_max_ns) +
                                   " is shorter than backoff " +
                                   format_duration_ns(config.backoff_ns));
    }
  }

  void read_deadline(DeadlineConfig& config) {
    if (absent("deadline")) return;
    config.present = true;
    if (is_short("deadline")) {
      read_time(map_, "deadline", "5s", kMsNs, kDayNs, config.default_ns);
      config.max_ns = std::max(config.max_ns, config.default_ns);
      return;
    }
    const MapReader map{node("deadline"), "'deadline'", kDeadlineKeys, context_.reporter};
    if (!map.valid()) return;
    read_time(map, "default", "5s", kMsNs, kDayNs, config.default_ns);
    if (!map.has("max")) config.max_ns = std::max(config.max_ns, config.default_ns);
    read_time(map, "max", "60s", kMsNs, kDayNs, config.max_ns);
    if (config.max_ns < config.default_ns) {
      map.error("max", "max " + format_duration_ns(config.max_ns) + " is shorter than default " +
                           format_duration_ns(config.default_ns));
    }
  }

  const MapReader& map_;
  ParseContext& context_;
};

}  // namespace

Parsed<std::uint32_t> parse_factor_within(std::string_view text, std::uint32_t least,
                                          std::uint32_t most) {
  const std::string allowed = "allowed: " + format_factor(least) + " to " + format_factor(most);
  std::uint64_t permille = 0;
  std::size_t fraction = 0;
  bool pointed = false;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (c == '.' && !pointed && permille < UINT32_MAX && &c != text.data()) {
      pointed = true;
      continue;
    }
    if (!digit) return {std::nullopt, "must be a number such as 1.5; " + allowed};
    if (pointed && ++fraction > 3) return {std::nullopt, "has more than 3 digits after the point"};
    permille =
        std::min<std::uint64_t>(permille * 10 + static_cast<std::uint64_t>(c - '0'), UINT32_MAX);
  }
  if (text.empty() || text.back() == '.') {
    return {std::nullopt, "must be a number such as 1.5; " + allowed};
  }
  for (std::size_t i = fraction; i < 3; ++i)
    permille = std::min<std::uint64_t>(permille * 10, UINT32_MAX);
  if (permille < least || permille > most) return {std::nullopt, "is out of range; " + allowed};
  return {static_cast<std::uint32_t>(permille), {}};
}

std::optional<ParsedResource> parse_resource(const YamlNode& node, ParseContext& context) {
  const MapReader map{node, "a resource", kResourceKeys, context.reporter};
  if (!map.valid()) return std::nullopt;
  ParsedResource resource;
  resource.config.line = node.place.line;
  resource.name_place = map.place_of("name");
  resource.domain_place = map.place_of("domain");
  resource.domain_given = map.has("domain");
  resource.domain = map.scalar("domain", "default").value_or(kDefaultDomain);
  const auto name = map.scalar("name", "orders");
  if (!map.has("name")) context.reporter.error(node.place, "a resource needs 'name'");
  const std::string problem = name ? limit_name_problem(*name) : std::string{};
  if (!problem.empty()) map.error("name", "name " + quote(*name) + " " + problem);
  ResourceParser{map, context}.read(resource.config);
  if (!name || !problem.empty()) return std::nullopt;
  resource.config.name = *name;
  for (const TenantConfig& tenant : resource.config.concurrency.tenants) {
    if (resource.config.name.size() + 1 + tenant.name.size() <= shm::kNameBytesMax) continue;
    map.error("name", "name " + quote(*name) + " is too long for the tenant " + quote(tenant.name) +
                          ": 'name/tenant' is longer than 127 bytes");
    return std::nullopt;
  }
  return resource;
}

}  // namespace weir
