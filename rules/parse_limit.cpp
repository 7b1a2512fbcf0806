// One entry of 'limits'.
#include <algorithm>
#include <array>

#include "rules/burst.h"
#include "rules/calendar.h"
#include "rules/duration.h"
#include "rules/parse_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

using shm::Algorithm;

constexpr std::array<std::string_view, 21> kLimitKeys{
    "name",   "domain",    "description", "algorithm", "rate",     "burst",   "slack",
    "window", "limit",     "calendar",    "timezone",  "priority", "stripes", "fallback",
    "scope",  "threshold", "parent",      "weight",    "band",     "floor",   "hosts"};
constexpr std::array<std::string_view, 4> kFallbackKeys{"mode", "rate", "burst", "after"};

constexpr std::uint64_t kWindowMinNs = 10'000'000;
constexpr std::uint64_t kSlidingWindowMaxNs = 7 * kDayNs;
constexpr std::uint64_t kSlidingWindowFullUseNs = 100'000'000;
constexpr std::uint64_t kFixedWindowMaxNs = 31 * kDayNs;
constexpr std::uint64_t kAfterDefaultMs = 10'000;
constexpr std::uint64_t kAfterMaxNs = kHourNs;

// Which keys go with which algorithm; a key that is not here goes with all.
struct KeyUse {
  std::string_view key;
  std::array<bool, 4> algorithms;  // in the order of kAlgorithmNames
};
constexpr std::array<KeyUse, 7> kKeyUses{{{"rate", {true, true, false, false}},
                                          {"burst", {true, false, false, false}},
                                          {"slack", {false, true, false, false}},
                                          {"window", {false, false, true, true}},
                                          {"limit", {false, false, true, true}},
                                          {"calendar", {false, false, true, false}},
                                          {"timezone", {false, false, true, false}}}};
constexpr std::array<std::string_view, 4> kKeysOfAlgorithm{
    "rate, burst", "rate, slack", "limit and window, or limit, calendar, timezone",
    "limit, window"};

class LimitParser {
 public:
  LimitParser(const MapReader& map, ParseContext& context) : map_(map), context_(context) {}

  // False when the limit's own numbers are unusable, so that nothing can be compared with them.
  bool read_algorithm(LimitRule& rule);
  void read_common(LimitRule& rule);
  void read_priority(LimitRule& rule, bool sized);
  void read_fallback(LimitRule& rule, bool sized);

 private:
  bool refuse_foreign_keys(Algorithm algorithm);
  bool read_bucket(LimitRule& rule);
  std::uint64_t default_burst(Algorithm algorithm, Rate rate) const;
  bool read_window(LimitRule& rule);
  bool read_fixed_length(LimitRule& rule);
  bool read_calendar(LimitRule& rule);
  bool check_burst(const MapReader& map, std::string_view key, Rate rate, std::uint64_t burst);
  void read_local_fallback(const MapReader& map, LimitRule& rule, bool sized);
  const ZoneResult& zone(std::string_view name);

  const MapReader& map_;
  ParseContext& context_;
};

void LimitParser::read_common(LimitRule& rule) {
  if (const auto text = map_.scalar("description", "'orders of one shop'")) {
    rule.description = *text;
    std::string visible{*text};
    std::erase(visible, '\n');
    if (text->size() > kDescriptionBytesMax) {
      map_.error("description", "description is longer than 1024 bytes");
    } else if (has_control_character(visible)) {
      map_.error("description", "description holds a control character");
    }
  }
  if (const auto index = map_.choice("stripes", kStripeNames)) {
    rule.stripes = static_cast<StripeMode>(*index);
  }
}

bool LimitParser::refuse_foreign_keys(Algorithm algorithm) {
  const std::size_t index = static_cast<std::size_t>(algorithm) - 1;
  bool fine = true;
  for (const KeyUse& use : kKeyUses) {
    if (use.algorithms[index] || !map_.has(use.key)) continue;
    map_.error(use.key, quote_word(use.key) + " does not go with algorithm " +
                            std::string{kAlgorithmNames[index]} + ", which takes " +
                            std::string{kKeysOfAlgorithm[index]});
    fine = false;
  }
  return fine;
}

bool LimitParser::read_algorithm(LimitRule& rule) {
  if (map_.has("algorithm")) {
    const auto index = map_.choice("algorithm", kAlgorithmNames);
    if (!index) return false;
    rule.algorithm = static_cast<Algorithm>(*index + 1);
  }
  const bool own_keys = refuse_foreign_keys(rule.algorithm);
  const bool bucket =
      rule.algorithm == Algorithm::token_bucket || rule.algorithm == Algorithm::leaky_bucket;
  return (bucket ? read_bucket(rule) : read_window(rule)) && own_keys;
}

std::uint64_t LimitParser::default_burst(Algorithm algorithm, Rate rate) const {
  if (algorithm == Algorithm::leaky_bucket) return full_use_burst(rate);
  return std::max(tokens_in(rate, kSecondNs), full_use_burst(rate));
}

bool LimitParser::read_bucket(LimitRule& rule) {
  const bool leaky = rule.algorithm == Algorithm::leaky_bucket;
  const std::string_view burst_key = leaky ? "slack" : "burst";
  if (!map_.has("rate")) {
    context_.reporter.error(map_.place(), "a limit with algorithm " +
                                              std::string{to_text(rule.algorithm)} +
                                              " needs 'rate', such as rate: 300/s");
  }
  const auto rate = map_.value("rate", "300/s", [&](std::string_view text) {
    Parsed<Rate> parsed = parse_rate(text);
    if (!parsed.value) return parsed;
    parsed.error = rate_problem(*parsed.value);
    if (leaky && parsed.value->amount == 0) {
      parsed.error = "must be above 0 for a leaky_bucket; a token_bucket of 0/s lets nothing pass";
    }
    if (!parsed.error.empty()) parsed.value.reset();
    return parsed;
  });
  const auto burst = map_.value(burst_key, "300", parse_count);
  if (!rate || (map_.has(burst_key) && !burst)) return false;
  rule.amount = rate->amount;
  rule.period_ns = rate->period_ns;
  rule.burst = burst ? *burst : default_burst(rule.algorithm, *rate);
  return !burst || check_burst(map_, burst_key, *rate, *burst);
}

// An explicit burst: errors for what cannot work, a warning for what works badly.
bool LimitParser::check_burst(const MapReader& map, std::string_view key, Rate rate,
                              std::uint64_t burst) {
  const std::string shown = std::string{key} + " " + std::to_string(burst);
  if (rate.amount == 0 && burst != 0) {
    map.error(key, shown + " with a rate of 0; allowed: 0, or no " + std::string{key});
    return false;
  }
  if (rate.amount != 0 && burst == 0) {
    map.error(key, shown + " lets nothing pass; allowed: 1 to 1099511627776, or a rate of 0/s");
    return false;
  }
  if (burst > shm::kBurstMax) {
    map.error(key, shown + " is too large; allowed: 1 to 1099511627776");
    return false;
  }
  const std::uint64_t full_use = full_use_burst(rate);
  if (burst < full_use) {
    const std::uint32_t percent = std::min<std::uint32_t>(usable_permille(rate, burst) / 10, 99);
    context_.reporter.warn(
        map.place_of(key),
        shown + " is small for " + format_rate(rate) + ": about " + std::to_string(percent) +
            "% of the rate can be used, less on a busy host, because tokens come once a "
            "millisecond; " +
            std::string{key} + " " + std::to_string(full_use) + " or more gives all of it");
  }
  return true;
}

bool LimitParser::read_window(LimitRule& rule) {
  if (!map_.has("limit")) {
    context_.reporter.error(map_.place(), "a limit with algorithm " +
                                              std::string{to_text(rule.algorithm)} +
                                              " needs 'limit', such as limit: 1000");
  }
  const auto limit = map_.value("limit", "1000", [](std::string_view text) {
    Parsed<std::uint64_t> parsed = parse_count(text);
    if (parsed.value && (*parsed.value == 0 || *parsed.value > shm::kBurstMax)) {
      return Parsed<std::uint64_t>{std::nullopt, "is out of range; allowed: 1 to 1099511627776"};
    }
    return parsed;
  });
  const bool has_length = map_.has("calendar") ? read_calendar(rule) : read_fixed_length(rule);
  if (!limit || !has_length) return false;
  rule.amount = *limit;
  rule.burst = *limit;
  if (is_faster({rule.amount, rule.period_ns}, {kRateMaxPerS, kSecondNs})) {
    map_.error("limit", "limit " + std::to_string(*limit) + " in " +
                            format_duration_ns(rule.period_ns) +
                            " is above 1G/s, the highest "
                            "rate");
    return false;
  }
  return true;
}

bool LimitParser::read_fixed_length(LimitRule& rule) {
  const bool sliding = rule.algorithm == Algorithm::sliding_window;
  if (!map_.has("window")) {
    context_.reporter.error(map_.place(),
                            sliding ? "a limit with algorithm sliding_window needs 'window', such "
                                      "as window: 1m"
                                    : "a limit with algorithm fixed_window needs 'window', such "
                                      "as window: 1m, or 'calendar', such as calendar: day");
  }
  if (!sliding && map_.has("timezone")) {
    map_.error("timezone", "'timezone' goes with 'calendar' alone");
    return false;
  }
  const auto window = map_.value("window", "1m", [&](std::string_view text) {
    Parsed<std::uint64_t> parsed = parse_duration_ns(text);
    if (!parsed.value) return parsed;
    if (*parsed.value < kWindowMinNs ||
        *parsed.value > (sliding ? kSlidingWindowMaxNs : kFixedWindowMaxNs)) {
      parsed = {std::nullopt, sliding ? "is out of range; allowed for a sliding_window: 10ms to 7d"
                                      : "is out of range; allowed for a fixed_window: 10ms to "
                                        "31d, or 'calendar'"};
    }
    return parsed;
  });
  if (!window) return false;
  rule.period_ns = *window;
  if (sliding && *window < kSlidingWindowFullUseNs) {
    // What was spent returns at the first tick after a whole window.
    const std::uint64_t percent = 100 * *window / (*window + kTickNs + kTickNs / 10);
    context_.reporter.warn(map_.place_of("window"),
                           "window " + format_duration_ns(*window) + " is short for a " +
                               "sliding_window: about " + std::to_string(percent) +
                               "% of the limit can be used; 100ms or more gives nearly all of it");
  }
  return true;
}

const ZoneResult& LimitParser::zone(std::string_view name) {
  const auto found = context_.zones.find(name);
  if (found != context_.zones.end()) return found->second;
  return context_.zones.emplace(std::string{name}, load_zone(name, context_.options.zoneinfo_dir))
      .first->second;
}

bool LimitParser::read_calendar(LimitRule& rule) {
  if (rule.algorithm != Algorithm::fixed_window) return false;  // reported as a foreign key
  if (map_.has("window")) {
    map_.error("window", "'window' and 'calendar' exclude each other; allowed: one of them");
    return false;
  }
  const auto unit = map_.choice("calendar", kCalendarNames);
  rule.timezone = "UTC";
  if (const auto name = map_.scalar("timezone", "Europe/Berlin")) rule.timezone = *name;
  const ZoneResult& found = zone(rule.timezone);
  if (!found.error.empty()) {
    map_.error("timezone", found.error);
    return false;
  }
  if (!unit) return false;
  rule.calendar = static_cast<CalendarUnit>(*unit + 1);
  rule.period_ns = longest_window_ns(rule.calendar, *found.zone);
  return true;
}

void LimitParser::read_priority(LimitRule& rule, bool sized) {
  read_class_shares(map_, sized ? rule.burst : 0, rule.reserve_permille, context_);
}

void LimitParser::read_fallback(LimitRule& rule, bool sized) {
  FallbackRule& fallback = rule.fallback;
  const bool cluster = rule.scope == LimitScope::cluster;
  fallback = {shm::Fallback::local,          rule.amount, rule.period_ns, rule.burst,
              cluster ? 0 : kAfterDefaultMs, cluster};
  const YamlEntry* entry = map_.find("fallback");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return;
  if (entry->value->kind == YamlKind::scalar) {  // the mode alone
    if (const auto index = map_.choice("fallback", kFallbackNames)) {
      fallback.mode = static_cast<shm::Fallback>(*index);
    }
  } else {
    const MapReader map{*entry->value, "'fallback'", kFallbackKeys, context_.reporter};
    if (!map.valid()) return;
    if (const auto index = map.choice("mode", kFallbackNames)) {
      fallback.mode = static_cast<shm::Fallback>(*index);
    }
    if (cluster && map.has("after")) {
      map.error("after",
                "'after' does not go with scope: cluster; the lease of the limit and its tail say "
                "how long the host's share goes on");
    }
    const auto after_ns = map.value("after", "10s", [](std::string_view text) {
      Parsed<std::uint64_t> parsed = parse_duration_ns(text);
      if (parsed.value && *parsed.value > kAfterMaxNs) {
        parsed = {std::nullopt, "is out of range; allowed: 0s to 1h"};
      } else if (parsed.value && *parsed.value % 1'000'000 != 0) {
        parsed = {std::nullopt, "must be whole milliseconds"};
      }
      return parsed;
    });
    if (after_ns && !cluster) fallback.after_ms = *after_ns / 1'000'000;
    read_local_fallback(map, rule, sized);
  }
  if (fallback.mode != shm::Fallback::local) {
    fallback.amount = fallback.period_ns = fallback.burst = 0;
    fallback.divided = false;
  }
}

void LimitParser::read_local_fallback(const MapReader& map, LimitRule& rule, bool sized) {
  FallbackRule& fallback = rule.fallback;
  if (fallback.mode != shm::Fallback::local) {
    for (const std::string_view key : {"rate", "burst"}) {
      if (map.has(key)) {
        map.error(key, quote_word(key) + " goes with mode: local alone, not with mode: " +
                           std::string{to_text(fallback.mode)});
      }
    }
    return;
  }
  const Rate own{rule.amount, rule.period_ns};
  const auto rate = map.value("rate", "100/s", [&](std::string_view text) {
    Parsed<Rate> parsed = parse_rate(text);
    if (!parsed.value) return parsed;
    parsed.error = rate_problem(*parsed.value);
    if (sized && is_faster(*parsed.value, own)) {
      parsed.error =
          "is faster than the limit itself, which could then not be kept; allowed: up "
          "to " +
          format_rate(own) + ", or mode: open";
    }
    if (!parsed.error.empty()) parsed.value.reset();
    return parsed;
  });
  const auto burst = map.value("burst", "100", parse_count);
  if (fallback.divided && map.has("burst") && !map.has("rate")) {
    map.error("burst",
              "'burst' needs 'rate' here; without it every host goes on with its part of "
              "the limit's rate and burst");
    return;
  }
  if (!sized || (map.has("rate") && !rate)) return;
  if (rate) {
    fallback.divided = false;
    fallback.amount = rate->amount;
    fallback.period_ns = rate->period_ns;
    const std::uint64_t one_period = std::max(rate->amount, full_use_burst(*rate));
    fallback.burst = rate->amount == 0 ? 0 : std::min(rule.burst, one_period);
  }
  if (!burst) return;
  if (*burst > rule.burst) {
    map.error("burst", "burst " + std::to_string(*burst) + " is above the limit's own " +
                           std::to_string(rule.burst) + ", which could then not be kept");
  } else if (check_burst(map, "burst", {fallback.amount, fallback.period_ns}, *burst)) {
    fallback.burst = *burst;
  }
}

}  // namespace

std::optional<ParsedLimit> parse_limit(const YamlNode& node, ParseContext& context) {
  const MapReader map{node, "a limit", kLimitKeys, context.reporter};
  if (!map.valid()) return std::nullopt;
  ParsedLimit limit;
  limit.rule.line = node.place.line;
  limit.name_place = map.place_of("name");
  limit.domain_place = map.place_of("domain");
  limit.domain_given = map.has("domain");
  limit.domain = map.scalar("domain", "default").value_or(kDefaultDomain);

  const auto name = map.scalar("name", "/api/order");
  if (!map.has("name")) context.reporter.error(node.place, "a limit needs 'name'");
  const std::string problem = name ? limit_name_problem(*name) : std::string{};
  if (!problem.empty()) map.error("name", "name " + quote(*name) + " " + problem);

  limit.scope_place = map.place_of(map.has("scope") ? "scope" : "name");
  limit.parent_place = map.place_of(map.has("parent") ? "parent" : "name");

  LimitParser parser{map, context};
  limit.rule.scope = read_scope(map, context);
  parser.read_common(limit.rule);
  const bool sized = parser.read_algorithm(limit.rule);
  if (limit.rule.scope == LimitScope::cluster) {
    read_cluster_limit(map, limit.rule, sized, context);
  }
  parser.read_priority(limit.rule, sized);
  parser.read_fallback(limit.rule, sized);
  if (!name || !problem.empty()) return std::nullopt;
  limit.rule.name = *name;
  return limit;
}

}  // namespace weir
