// The quotas of a namespace, their store, and the tokens of the HTTP API.
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "rules/parse_parts.h"
#include "rules/quota_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 10> kQuotaKeys{
    "name", "type", "total", "period", "timezone", "valid", "rate", "burst", "chunk", "keys"};
constexpr std::array<std::string_view, 2> kChunkKeys{"min", "max"};
constexpr std::array<std::string_view, 2> kStoreKeys{"sync", "unsafe"};
constexpr std::array<std::string_view, 6> kAuditKeys{"batch",     "flush",       "queue",
                                                     "retention", "clean_every", "clean_batch"};
constexpr std::array<std::string_view, 1> kApiKeys{"tokens"};
constexpr std::array<std::string_view, 4> kTokenKeys{"name", "role", "token", "namespaces"};
constexpr std::uint64_t kFlushMinNs = 10'000'000;
constexpr std::uint64_t kFlushMaxNs = 5 * kSecondNs;
constexpr std::uint64_t kAuditRowsMax = 1'000'000;

// "off" for a number that may be nought, in words.
Parsed<std::uint64_t> parse_whole(std::string_view text, std::uint64_t unit_ns,
                                  std::uint64_t most_ns, std::string_view unit) {
  if (text == "off") return {std::uint64_t{0}, {}};
  Parsed<std::uint64_t> parsed = parse_duration_within(text, unit_ns, most_ns);
  if (!parsed.value) return {std::nullopt, parsed.error + ", or off"};
  if (*parsed.value % unit_ns != 0)
    return {std::nullopt, "must be whole " + std::string{unit} + ", or off"};
  return {*parsed.value / unit_ns, {}};
}

Parsed<std::uint64_t> parse_per_minute(std::string_view text) {
  const Parsed<Rate> rate = parse_rate(text);
  if (!rate.value) return {std::nullopt, rate.error};
  if (rate.value->amount == 0) return {std::nullopt, "lets nothing pass; leave it out for none"};
  __extension__ using Wide = unsigned __int128;
  const Wide amount = static_cast<Wide>(rate.value->amount) * kMinuteNs;
  if (amount % rate.value->period_ns != 0)
    return {std::nullopt, "must be a whole number a minute, such as 60/m"};
  const Wide per_min = amount / rate.value->period_ns;
  if (per_min > kQuotaRateMax) return {std::nullopt, "is above 1M/s"};
  return {static_cast<std::uint64_t>(per_min), {}};
}

class QuotaParser {
 public:
  QuotaParser(const YamlNode& node, ParseContext& context)
      : map_(node, "a quota", kQuotaKeys, context.reporter), context_(context) {}

  bool parse(QuotaRule& rule, Place& name_place) {
    if (!map_.valid()) return false;
    rule.line = map_.place().line;
    name_place = map_.has("name") ? map_.place_of("name") : map_.place();
    const bool named = read_name(rule);
    if (const auto kind = map_.choice("type", kQuotaKindNames))
      rule.kind = static_cast<QuotaKind>(*kind);
    read_amounts(rule);
    read_period(rule);
    read_rate(rule);
    read_chunk(rule);
    if (const auto keys = map_.choice("keys", kQuotaKeysNames))
      rule.keys = static_cast<QuotaKeys>(*keys);
    return named;
  }

 private:
  bool read_name(QuotaRule& rule) {
    if (!map_.has("name")) {
      context_.reporter.error(map_.place(), "the quota has no name; it needs name: ...");
      return false;
    }
    const auto name = map_.scalar("name", "api-calls");
    if (!name) return false;
    rule.name = *name;
    if (!rule.name.empty() && rule.name.size() <= kQuotaRuleNameBytesMax &&
        !has_control_character(rule.name))
      return true;
    map_.error("name", "the name " + quote(rule.name) +
                           " is not allowed; allowed: 1 to 128 bytes without control characters");
    return false;
  }

  void read_amounts(QuotaRule& rule) {
    const bool counted = rule.kind != QuotaKind::time;
    const bool timed = rule.kind != QuotaKind::count;
    const auto total = map_.value("total", "100k", [](std::string_view text) {
      return parse_count_within(text, 0, kQuotaTotalMax);
    });
    if (total) rule.total = *total;
    if (counted && !map_.has("total"))
      context_.reporter.error(map_.place(), "a quota of type " + std::string{to_text(rule.kind)} +
                                                " needs 'total', such as total: 100k");
    if (!counted && map_.has("total"))
      map_.error("total", "a quota of type time has no 'total'; type: hybrid has both");
    const auto valid = map_.value("valid", "30d", [](std::string_view text) {
      return parse_duration_within(text, kSecondNs, kDurationMaxNs);
    });
    if (valid) rule.valid_ns = *valid;
    if (timed && !map_.has("valid"))
      context_.reporter.error(map_.place(), "a quota of type " + std::string{to_text(rule.kind)} +
                                                " needs 'valid', such as valid: 30d");
    if (!timed && map_.has("valid"))
      map_.error("valid", "a quota of type count has no end; type: hybrid has both");
  }

  void read_period(QuotaRule& rule) {
    if (const auto every = map_.choice("period", kQuotaEveryNames))
      rule.every = static_cast<QuotaEvery>(*every);
    if (rule.kind == QuotaKind::time && rule.every != QuotaEvery::none)
      map_.error("period", "a quota of type time counts nothing, so that no period begins anew");
    if (!map_.has("timezone")) return;
    if (rule.every == QuotaEvery::none)
      return map_.error("timezone", "'timezone' goes with 'period' alone");
    if (const auto name = map_.scalar("timezone", "Europe/Berlin")) rule.timezone = *name;
    auto found = context_.zones.find(rule.timezone);
    if (found == context_.zones.end())
      found = context_.zones
                  .emplace(rule.timezone, load_zone(rule.timezone, context_.options.zoneinfo_dir))
                  .first;
    if (found->second.zone == nullptr) map_.error("timezone", found->second.error);
  }

  void read_rate(QuotaRule& rule) {
    if (const auto rate = map_.value("rate", "60/m", parse_per_minute))
      rule.rate_per_min = static_cast<std::uint32_t>(*rate);
    const auto burst = map_.value("burst", "10", [](std::string_view text) {
      return parse_count_within(text, 1, kQuotaRateMax);
    });
    if (burst) rule.rate_burst = static_cast<std::uint32_t>(*burst);
    if (map_.has("burst") && !map_.has("rate"))
      map_.error("burst", "'burst' goes with 'rate' alone");
  }

  void read_chunk(QuotaRule& rule) {
    const YamlEntry* entry = map_.find("chunk");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    const MapReader chunk{*entry->value, "'chunk'", kChunkKeys, context_.reporter};
    if (!chunk.valid()) return;
    const auto units = [](std::string_view text) {
      return parse_count_within(text, 1, kQuotaTotalMax);
    };
    if (const auto least = chunk.value("min", "10", units)) rule.chunk_min = *least;
    if (const auto most = chunk.value("max", "1000", units)) rule.chunk_max = *most;
    if (rule.chunk_min > rule.chunk_max) chunk.error("min", "'min' is above 'max'");
  }

  MapReader map_;
  ParseContext& context_;
};

bool read_token(const YamlNode& node, ApiToken& token, Reporter& reporter) {
  const MapReader map{node, "a token of the API", kTokenKeys, reporter};
  if (!map.valid()) return false;
  for (const std::string_view key : {"name", "role", "token"})
    if (!map.has(key))
      reporter.error(map.place(), "the token needs " + quote_word(key) +
                                      ", as in {name: ops, role: operator, token: 'sha256:...'}");
  if (const auto name = map.scalar("name", "ops")) {
    token.name = *name;
    if (!is_plain_name(token.name, kHostNameBytesMax))
      map.error("name", "the name " + quote(token.name) +
                            " is not allowed; allowed: 1 to 255 of a-z A-Z 0-9 . _ -, with a "
                            "letter or digit first");
  }
  if (const auto role = map.choice("role", kApiRoleNames)) token.role = static_cast<ApiRole>(*role);
  if (const auto hash = map.scalar("token", "'sha256:9f86...'")) {
    token.token = *hash;
    if (!is_token_hash_text(token.token))
      map.error("token",
                "token: this is not a hash; allowed: sha256: and 64 hexadecimal digits, as "
                "'weir-server --hash-token' prints them");
  }
  for (ListItem& item : read_list(map, "namespaces", kNamespacesMax, "[shop]", reporter))
    token.namespaces.push_back(std::move(item.text));
  return !token.token.empty();
}

}  // namespace

std::string_view to_text(QuotaKind kind) noexcept {
  return kQuotaKindNames[static_cast<std::size_t>(kind)];
}
std::string_view to_text(QuotaEvery every) noexcept {
  return kQuotaEveryNames[static_cast<std::size_t>(every)];
}
std::string_view to_text(ApiRole role) noexcept {
  return kApiRoleNames[static_cast<std::size_t>(role)];
}

std::vector<QuotaRule> read_quotas(const MapReader& map, ParseContext& context) {
  std::vector<QuotaRule> rules;
  const YamlEntry* entry = map.find("quotas");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return rules;
  if (entry->value->kind != YamlKind::sequence) {
    map.error("quotas", "'quotas' must be a list, with '- ' before each entry");
    return rules;
  }
  std::unordered_map<std::string, int> lines;
  for (const YamlRef& item : entry->value->items) {
    QuotaRule rule;
    Place place;
    if (!QuotaParser{*item, context}.parse(rule, place)) continue;
    const auto [twin, fresh] = lines.try_emplace(rule.name, rule.line);
    if (!fresh) {
      context.reporter.error(place, "the quota " + quote(rule.name) +
                                        " exists already in this namespace, on line " +
                                        std::to_string(twin->second));
      continue;
    }
    if (rules.size() == kQuotasMax) {
      context.reporter.error(item->place, "more than 256 quotas in the namespace");
      break;
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

StoreRule read_store(const MapReader& root, ParseContext& context) {
  StoreRule rule;
  const YamlEntry* entry = root.find("store");
  if (entry != nullptr && entry->value->kind != YamlKind::null) {
    const MapReader map{*entry->value, "'store'", kStoreKeys, context.reporter};
    if (map.valid()) {
      rule.unsafe = map.value("unsafe", "true", parse_yes).value_or(false);
      if (const auto sync = map.choice("sync", kStoreSyncNames))
        rule.sync = static_cast<StoreSync>(*sync);
      if (rule.sync != StoreSync::full && !rule.unsafe)
        map.error("sync",
                  "sync: " + std::string{kStoreSyncNames[static_cast<std::size_t>(rule.sync)]} +
                      " may hand out twice what a power cut takes away; if that is what "
                      "you want, say unsafe: true as well");
    }
  }
  entry = root.find("audit");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return rule;
  const MapReader map{*entry->value, "'audit'", kAuditKeys, context.reporter};
  if (!map.valid()) return rule;
  const auto rows = [](std::string_view text) {
    return parse_count_within(text, 1, kAuditRowsMax);
  };
  if (const auto n = map.value("batch", "500", rows))
    rule.audit_batch = static_cast<std::uint32_t>(*n);
  if (const auto n = map.value("queue", "10k", rows))
    rule.audit_queue = static_cast<std::uint32_t>(*n);
  if (const auto n = map.value("clean_batch", "10k", rows))
    rule.clean_batch = static_cast<std::uint32_t>(*n);
  const auto flush = map.value("flush", "500ms", [](std::string_view text) {
    return parse_duration_within(text, kFlushMinNs, kFlushMaxNs);
  });
  if (flush) rule.audit_flush_ms = *flush / 1'000'000;
  const auto days = map.value("retention", "180d", [](std::string_view text) {
    return parse_whole(text, kDayNs, kDurationMaxNs, "days");
  });
  if (days) rule.retention_days = static_cast<std::uint32_t>(*days);
  const auto hours = map.value("clean_every", "24h", [](std::string_view text) {
    return parse_whole(text, kHourNs, kDurationMaxNs, "hours");
  });
  if (hours) rule.clean_every_h = static_cast<std::uint32_t>(*hours);
  if (rule.audit_queue < rule.audit_batch)
    map.error(map.has("queue") ? "queue" : "batch", "'queue' is smaller than 'batch'");
  return rule;
}

std::vector<ApiToken> read_api(const MapReader& root, ParseContext& context) {
  std::vector<ApiToken> tokens;
  const YamlEntry* entry = root.find("api");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return tokens;
  const MapReader map{*entry->value, "'api'", kApiKeys, context.reporter};
  if (!map.valid()) return tokens;
  const YamlEntry* list = map.find("tokens");
  if (list == nullptr || list->value->kind == YamlKind::null) return tokens;
  if (list->value->kind != YamlKind::sequence) {
    map.error("tokens", "'tokens' must be a list, with '- ' before each entry");
    return tokens;
  }
  std::unordered_set<std::string> seen;
  for (const YamlRef& item : list->value->items) {
    ApiToken token;
    if (!read_token(*item, token, context.reporter)) continue;
    if (!seen.insert(token.token).second) {
      context.reporter.error(item->place, "this token stands here twice");
    } else if (tokens.size() == kApiTokensMax) {
      context.reporter.error(item->place, "more than 256 tokens of the API");
      break;
    } else {
      tokens.push_back(std::move(token));
    }
  }
  return tokens;
}

}  // namespace weir
