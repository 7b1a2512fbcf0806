// A token server's file.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "rules/file.h"
#include "rules/parse_parts.h"
#include "rules/quota_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 14> kServerKeys{
    "version", "listen",       "insecure", "tls",   "state_dir", "http", "http_tls",
    "lease",   "idle_timeout", "store",    "audit", "api",       "etcd", "namespaces"};
constexpr std::array<std::string_view, 6> kNamespaceKeys{"tokens", "certificates", "guard",
                                                         "limits", "quotas",       "concurrency"};
constexpr std::array<std::string_view, 2> kPermitKeys{"name", "max"};
constexpr std::array<std::string_view, 6> kAgentKeys{"domains", "limits",    "server",
                                                     "cluster", "resources", "degrade"};
constexpr std::uint64_t kIdleMinNs = 10 * kSecondNs;
constexpr std::uint64_t kIdleMaxNs = kDayNs;

class ServerParser {
 public:
  explicit ServerParser(ParseContext& context) : context_(context) {}

  ServerRules parse(const YamlNode& root) {
    const MapReader map{root, "a server's file", kServerKeys, context_.reporter};
    if (!map.valid()) return {};
    read_version(map);
    read_places(map);
    read_times(map);
    read_tls(map, true, rules_.tls, context_);
    read_http_tls(map, rules_.http_tls, context_);
    rules_.store = read_store(map, context_);
    rules_.api = read_api(map, context_);
    rules_.etcd = read_etcd(map, rules_.listen, context_);
    read_namespaces(map);
    check_api(map);
    check_access(map);
    return std::move(rules_);
  }

 private:
  void read_version(const MapReader& map) {
    if (!map.has("version")) {
      context_.reporter.error(map.place(), "the file needs 'version: 1'");
    }
    const auto version = map.scalar("version", "1");
    if (version && *version != "1") {
      map.error("version", "version " + quote(*version) + " is not known; allowed: 1");
    }
  }

  void read_places(const MapReader& map) {
    if (map.has("listen")) {
      rules_.listen = read_addresses(map, "listen", AddressUse::listen, context_.reporter);
      const YamlEntry* entry = map.find("listen");
      if (entry->value->kind == YamlKind::sequence && entry->value->items.empty()) {
        map.error("listen", "'listen' is empty; leave it out to listen at 127.0.0.1:9465");
      }
    }
    rules_.insecure = map.value("insecure", "true", parse_yes).value_or(false);
    if (auto path = map.value("state_dir", "/var/lib/weir", parse_path)) {
      rules_.state_dir = std::move(*path);
    }
    const auto http = map.value("http", "127.0.0.1:9466", [](std::string_view text) {
      if (text == "off") return Parsed<std::string>{std::string{}, {}};
      Parsed<AddressText> parsed = parse_address_text(text, AddressUse::http);
      if (parsed.value) return Parsed<std::string>{std::string{text}, {}};
      return Parsed<std::string>{std::nullopt, parsed.error + ", or off"};
    });
    if (http) rules_.http = *http;
  }

  void read_times(const MapReader& map) {
    rules_.lease = read_lease(map, context_);
    const auto idle = map.value("idle_timeout", "600s", [](std::string_view text) {
      Parsed<std::uint64_t> parsed = parse_duration_within(text, kIdleMinNs, kIdleMaxNs);
      if (!parsed.value) return parsed;
      if (*parsed.value % 1'000'000 != 0) parsed = {std::nullopt, "must be whole milliseconds"};
      return parsed;
    });
    if (idle) rules_.idle_timeout_ms = *idle / 1'000'000;
  }

  void read_namespaces(const MapReader& map) {
    // Servers that share their namespaces find them in etcd, unless their files say otherwise.
    if (!map.has("namespaces") && rules_.etcd.enabled()) return;
    if (!map.has("namespaces")) {
      context_.reporter.error(map.place(),
                              "the file needs 'namespaces', such as namespaces: {default: {limits: "
                              "[{name: /api, rate: 300/s}]}}");
    }
    const YamlEntry* entry = map.find("namespaces");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    if (entry->value->kind != YamlKind::map) {
      map.error("namespaces", "'namespaces' must be a map, with a namespace's name as each key");
      return;
    }
    if (entry->value->entries.empty()) {
      map.error("namespaces", "'namespaces' is empty; allowed: one or more");
    }
    if (entry->value->entries.size() > kNamespacesMax) {
      map.error("namespaces", "more than 256 namespaces");
      return;
    }
    for (const YamlEntry& each : entry->value->entries)
      read_namespace(each);
  }

  void read_namespace(const YamlEntry& entry) {
    NamespaceRule rule;
    rule.name = entry.key;
    rule.line = entry.key_place.line;
    if (!is_plain_name(rule.name, kNamespaceNameBytesMax)) {
      context_.reporter.error(entry.key_place, "namespace " + quote(rule.name) +
                                                   " is not allowed; allowed: 1 to 63 of a-z A-Z "
                                                   "0-9 . _ -, with a letter or digit first");
    }
    if (entry.value->kind == YamlKind::null) {
      context_.reporter.error(entry.key_place, "the namespace " + quote(rule.name) +
                                                   " has no value; give it limits, or {}");
      return;
    }
    const MapReader map{*entry.value, "a namespace", kNamespaceKeys, context_.reporter};
    if (!map.valid()) return;
    read_access(map, rule.allow, context_.reporter);
    rule.guard = read_guard(map);
    read_limits(map, rule);
    rule.quotas = read_quotas(map, context_);
    read_permits(map, rule);
    places_.push_back(entry.key_place);
    rules_.namespaces.push_back(std::move(rule));
  }

  void read_limits(const MapReader& map, NamespaceRule& rule) {
    const YamlEntry* entry = map.find("limits");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    if (entry->value->kind != YamlKind::sequence) {
      map.error("limits", "'limits' must be a list, with '- ' before each entry");
      return;
    }
    std::unordered_map<std::string, int> lines;
    std::vector<Place> parent_places;
    for (const YamlRef& item : entry->value->items) {
      auto limit = parse_limit(*item, context_);
      if (!limit) continue;
      const auto [twin, fresh] = lines.try_emplace(limit->rule.name, limit->rule.line);
      if (!fresh) {
        context_.reporter.error(limit->name_place,
                                "the limit " + quote(limit->rule.name) +
                                    " exists already in this namespace, on line " +
                                    std::to_string(twin->second));
        continue;
      }
      if (rule.limits.size() == kLimitsPerDomainMax) {
        context_.reporter.error(item->place,
                                "more than 1024 limits in the namespace " + quote(rule.name));
        return;
      }
      rule.limits.push_back(std::move(limit->rule));
      parent_places.push_back(limit->parent_place);
    }
    check_parents(rule.limits, parent_places, {}, context_.reporter);
  }

  void read_permits(const MapReader& map, NamespaceRule& rule) {
    const YamlEntry* entry = map.find("concurrency");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    if (entry->value->kind != YamlKind::sequence) {
      return map.error("concurrency",
                       "'concurrency' must be a list such as [{name: db, max: 100}]");
    }
    for (const YamlRef& item : entry->value->items) {
      if (rule.permits.size() == kPermitLimitsMax) {
        return context_.reporter.error(item->place,
                                       "more than 512 concurrency limits in a namespace");
      }
      read_permit(*item, rule);
    }
  }

  void read_permit(const YamlNode& item, NamespaceRule& rule) {
    const MapReader map{item, "a concurrency limit", kPermitKeys, context_.reporter};
    if (!map.valid()) return;
    for (const std::string_view key : kPermitKeys) {
      if (map.has(key)) continue;
      context_.reporter.error(item.place, "a concurrency limit needs " + quote_word(key) +
                                              ", such as {name: db, max: 100}");
    }
    PermitLimit limit;
    limit.line = item.place.line;
    limit.name = map.scalar("name", "db").value_or(std::string{});
    const std::string problem = map.has("name") ? limit_name_problem(limit.name) : std::string{};
    if (!problem.empty()) map.error("name", "name " + quote(limit.name) + " " + problem);
    const auto max = map.value("max", "100", [](std::string_view text) {
      return parse_count_within(text, 1, kConcurrencyMax);
    });
    limit.max = max.value_or(0);
    for (const PermitLimit& twin : rule.permits) {
      if (twin.name != limit.name || limit.name.empty()) continue;
      return map.error("name", "the concurrency limit " + quote(limit.name) +
                                   " exists already in this namespace, on line " +
                                   std::to_string(twin.line));
    }
    rule.permits.push_back(std::move(limit));
  }

  void check_api(const MapReader& map) {
    if (rules_.http.empty() && rules_.http_tls.enabled) {
      map.error("http_tls", "'http_tls' is of no use with http: off");
    }
    if (!rules_.api.empty() && !rules_.http_tls.enabled && !rules_.insecure &&
        !rules_.http.empty() && !first_open_address({rules_.http}).empty()) {
      context_.reporter.warn(map.place_of("http"),
                             "the tokens of 'api' go in clear text to " + quote(rules_.http) +
                                 ", which can be reached from other hosts; give it 'http_tls'");
    }
    if (!map.has("namespaces")) return;  // they come from etcd
    for (const ApiToken& token : rules_.api) {
      for (const std::string& name : token.namespaces) {
        const auto same = [&](const NamespaceRule& rule) { return rule.name == name; };
        if (std::none_of(rules_.namespaces.begin(), rules_.namespaces.end(), same))
          map.error("api", "the token " + quote(token.name) + " is for a namespace " + quote(name) +
                               ", which is not here");
      }
    }
  }

  void check_access(const MapReader& map) {
    std::vector<const AccessRule*> all;
    for (const NamespaceRule& rule : rules_.namespaces)
      all.push_back(&rule.allow);
    settle_clients(map, rules_.tls, all, context_.reporter);
    const std::string open = first_open_address(rules_.listen);
    if (open.empty() || rules_.insecure) return;
    if (!rules_.tls.enabled) {
      map.error("listen", "listen " + quote(open) +
                              " can be reached from other hosts and needs 'tls', or insecure: "
                              "true");
    }
    for (std::size_t i = 0; i < rules_.namespaces.size(); ++i) {
      if (!rules_.namespaces[i].allow.empty()) continue;
      context_.reporter.error(places_[i], "the namespace " + quote(rules_.namespaces[i].name) +
                                              " can be reached from other hosts at " + quote(open) +
                                              " and needs tokens or certificates, or insecure: "
                                              "true");
    }
  }

  ParseContext& context_;
  ServerRules rules_;
  std::vector<Place> places_;  // of the namespaces
};

ServerRules parse_server_text(std::string_view text, const ParseOptions& options,
                              Reporter& reporter) {
  const SourceText source{text};
  if (const auto defect = source.defect()) {
    reporter.error(defect->place, defect->message);
    return {};
  }
  const YamlRef root = parse_yaml(source, reporter);
  if (root == nullptr) return {};
  if (source.had_byte_order_mark()) {
    reporter.warn({1, 1},
                  "the file starts with a byte order mark, which is ignored; save it as "
                  "UTF-8 without one");
  }
  ParseContext context{options, reporter, true};
  return ServerParser{context}.parse(*root);
}

}  // namespace

ServerParseResult parse_server_rules(std::string_view text, std::string file_name,
                                     const ParseOptions& options) noexcept {
  Reporter reporter{std::move(file_name)};
  ServerRules rules = parse_server_text(text, options, reporter);
  ServerParseResult result;
  if (reporter.failed()) {
    result.problems = reporter.take_errors();
    result.problems_left_out = reporter.errors_left_out();
    return result;
  }
  rules.warnings = reporter.take_warnings();
  result.rules = std::move(rules);
  return result;
}

ServerParseResult load_server_file(const std::string& path, const ParseOptions& options) noexcept {
  const FileText file = read_file(path, kRulesFileBytesMax);
  if (file.error.empty()) return parse_server_rules(file.text, path, options);
  ServerParseResult result;
  result.problems.push_back({path, 0, 0, "the file " + file.error});
  return result;
}

bool looks_like_server_file(std::string_view text) noexcept {
  Reporter quiet{""};
  const SourceText source{text};
  if (source.defect()) return false;
  const YamlRef root = parse_yaml(source, quiet);
  if (root == nullptr || root->kind != YamlKind::map) return false;
  bool server = false;
  for (const YamlEntry& entry : root->entries) {
    if (index_of(kAgentKeys, entry.key)) return false;
    if (entry.key == "namespaces") server = true;
  }
  return server;
}

}  // namespace weir
