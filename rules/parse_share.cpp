// What a limit needs besides when the whole cluster shares it, and how such limits hang together.
#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

#include "rules/parse_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 6> kClusterKeys{"threshold", "parent", "weight",
                                                       "band",      "floor",  "hosts"};
constexpr std::array<std::string_view, 3> kSiblingKeys{"weight", "band", "floor"};
constexpr std::array<std::string_view, 4> kHostKeys{"match", "weight", "band", "floor"};
constexpr int kParentsMax = 8;  // above one limit

std::string where_else(const ParseContext& context) {
  return context.server_file ? "put the limit into the hosts' own rules" : "say scope: host";
}

class ShareParser {
 public:
  ShareParser(const MapReader& map, bool sized, ParseContext& context)
      : map_(map), sized_(sized), context_(context) {}

  void read(LimitRule& rule);

 private:
  void read_hosts(const LimitRule& rule, std::vector<HostShare>& hosts);
  bool read_host(const YamlNode& node, const LimitRule& rule, HostShare& host);
  template <class Share>
  void read_share(const MapReader& map, const LimitRule& rule, Share& share);

  const MapReader& map_;
  bool sized_;
  ParseContext& context_;
};

template <class Share>
void ShareParser::read_share(const MapReader& map, const LimitRule& rule, Share& share) {
  const auto weight = map.value("weight", "2", [](std::string_view text) {
    return parse_count_within(text, 1, kShareWeightMax);
  });
  const auto band = map.value(
      "band", "1", [](std::string_view text) { return parse_count_within(text, 0, kBandMax); });
  const auto floor = map.value("floor", "10/s", [&](std::string_view text) {
    Parsed<Rate> parsed = parse_rate(text);
    const bool global = rule.cluster.threshold == LimitThreshold::global;
    if (parsed.value && sized_ && global &&
        is_faster(*parsed.value, {rule.amount, rule.period_ns})) {
      parsed = {std::nullopt, "is faster than the limit itself; allowed: up to " +
                                  format_rate({rule.amount, rule.period_ns})};
    }
    return parsed;
  });
  if (weight) share.weight = static_cast<std::uint32_t>(*weight);
  if (band) share.band = static_cast<std::uint32_t>(*band);
  if (floor && floor->amount != 0) {
    share.floor_amount = floor->amount;
    share.floor_period_ns = floor->period_ns;
  }
}

void ShareParser::read(LimitRule& rule) {
  ClusterLimit& cluster = rule.cluster;
  for (const std::string_view key : {std::string_view{"domain"}, std::string_view{"stripes"}}) {
    if (!map_.has(key)) continue;
    map_.error(key, key == "domain"
                        ? context_.server_file
                              ? "'domain' does not go with scope: cluster; each host's own "
                                "cluster.domain says where its limits live"
                              : "'domain' does not go with scope: cluster; cluster.domain says "
                                "where these limits live"
                        : "'stripes' does not go with scope: cluster; every host chooses for "
                          "itself");
  }
  if (const auto index = map_.choice("threshold", kThresholdNames)) {
    cluster.threshold = static_cast<LimitThreshold>(*index);
  }
  if (const auto parent = map_.scalar("parent", "'shop'")) cluster.parent = *parent;
  if (!map_.has("parent")) {
    for (const std::string_view key : kSiblingKeys) {
      if (!map_.has(key)) continue;
      map_.error(key, quote_word(key) +
                          " counts among the limits of one parent and needs 'parent'; for hosts "
                          "there is hosts: [{match: '*', " +
                          std::string{key} + ": ...}]");
      return;
    }
  }
  read_share(map_, rule, cluster);
  read_hosts(rule, cluster.hosts);
}

void ShareParser::read_hosts(const LimitRule& rule, std::vector<HostShare>& hosts) {
  const YamlEntry* entry = map_.find("hosts");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return;
  if (entry->value->kind != YamlKind::sequence) {
    map_.error("hosts", "'hosts' must be a list such as [{match: 'batch-*', weight: 2}]");
    return;
  }
  if (entry->value->items.size() > kHostSharesMax) {
    map_.error("hosts", "'hosts' has more than 64 entries");
    return;
  }
  for (const YamlRef& item : entry->value->items) {
    HostShare host;
    if (!read_host(*item, rule, host)) continue;
    const auto same = [&](const HostShare& each) { return each.match == host.match; };
    if (std::any_of(hosts.begin(), hosts.end(), same)) {
      context_.reporter.error(item->place,
                              "match " + quote(host.match) + " stands twice; the first one counts");
    } else if (!hosts.empty() && hosts.back().match == "*") {
      context_.reporter.warn(item->place, "match " + quote(host.match) +
                                              " is never reached, because '*' above it matches "
                                              "every host");
    }
    hosts.push_back(std::move(host));
  }
}

bool ShareParser::read_host(const YamlNode& node, const LimitRule& rule, HostShare& host) {
  const MapReader map{node, "an entry of 'hosts'", kHostKeys, context_.reporter};
  if (!map.valid()) return false;
  if (!map.has("match")) {
    context_.reporter.error(node.place, "an entry of 'hosts' needs 'match', such as 'batch-*'");
  }
  const auto match = map.scalar("match", "'batch-*'");
  read_share(map, rule, host);
  if (!match) return false;
  std::string letters{*match};
  std::replace(letters.begin(), letters.end(), '*', 'x');
  if (!is_plain_name(letters, kHostNameBytesMax)) {
    map.error("match", "match " + quote(*match) +
                           " fits no host's name; allowed: 1 to 255 of a-z A-Z 0-9 . _ - and *");
    return false;
  }
  host.match = *match;
  return true;
}

// Each limit's parent as an index; itself when there is none.
std::vector<std::size_t> parent_indexes(const std::vector<LimitRule>& limits,
                                        const std::vector<Place>& places,
                                        const std::vector<std::string>& host_limits,
                                        Reporter& reporter) {
  std::unordered_map<std::string_view, std::size_t> index;
  std::vector<std::string_view> names;
  for (const LimitRule& limit : limits) {
    index.emplace(limit.name, names.size());
    names.push_back(limit.name);
  }
  std::vector<std::size_t> parents(limits.size());
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const std::string& parent = limits[i].cluster.parent;
    parents[i] = i;
    if (parent.empty()) continue;
    const auto found = index.find(parent);
    if (found != index.end()) {
      parents[i] = found->second;
      if (found->second == i) reporter.error(places[i], "a limit cannot be its own parent");
      continue;
    }
    if (std::find(host_limits.begin(), host_limits.end(), parent) != host_limits.end()) {
      reporter.error(places[i], "the parent " + quote(parent) +
                                    " has scope: host; a parent needs scope: cluster");
      continue;
    }
    const std::string_view meant = did_you_mean(parent, names);
    reporter.error(places[i], "there is no limit " + quote(parent) + " to be the parent" +
                                  (meant.empty() ? "" : "; did you mean " + quote(meant) + "?"));
  }
  return parents;
}

void report_circle(const std::vector<LimitRule>& limits, const std::vector<Place>& places,
                   const std::vector<std::size_t>& circle, Reporter& reporter) {
  const auto first = std::min_element(circle.begin(), circle.end());
  std::string names = limits[*first].name;
  const auto add = [&](std::size_t each) { names += " -> " + limits[each].name; };
  std::for_each(first + 1, circle.end(), add);
  std::for_each(circle.begin(), first + 1, add);
  reporter.error(places[*first], "the parents go in a circle: " + quote(names));
}

void check_circles(const std::vector<LimitRule>& limits, const std::vector<Place>& places,
                   const std::vector<std::size_t>& parents, Reporter& reporter) {
  constexpr int kUnknown = -1;
  constexpr int kOnPath = -2;
  std::vector<int> above(limits.size(), kUnknown);
  for (std::size_t i = 0; i < limits.size(); ++i) {
    std::vector<std::size_t> path;
    std::size_t at = i;
    for (; above[at] == kUnknown; at = parents[at]) {
      above[at] = parents[at] == at ? 0 : kOnPath;
      path.push_back(at);
    }
    if (above[at] == kOnPath) {
      const auto start = std::find(path.begin(), path.end(), at);
      const std::vector<std::size_t> circle(start, path.end());
      report_circle(limits, places, circle, reporter);
      for (const std::size_t each : circle)
        above[each] = 0;
    }
    for (; !path.empty(); path.pop_back()) {
      const std::size_t each = path.back();
      if (above[each] != kOnPath) continue;
      above[each] = above[parents[each]] + 1;
      if (above[each] == kParentsMax + 1) {
        reporter.error(places[each], "more than 8 limits above this one");
      }
    }
  }
}

void check_floors(const std::vector<LimitRule>& limits, const std::vector<Place>& places,
                  const std::vector<std::size_t>& parents, Reporter& reporter) {
  std::vector<long double> floors(limits.size());
  std::vector<bool> warned(limits.size());
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const ClusterLimit& cluster = limits[i].cluster;
    const LimitRule& parent = limits[parents[i]];
    if (parents[i] == i || cluster.floor_period_ns == 0 || parent.period_ns == 0) continue;
    if (parent.cluster.threshold == LimitThreshold::per_host) continue;
    floors[parents[i]] += static_cast<long double>(cluster.floor_amount) /
                          static_cast<long double>(cluster.floor_period_ns);
    const long double whole =
        static_cast<long double>(parent.amount) / static_cast<long double>(parent.period_ns);
    if (floors[parents[i]] <= whole * 1.000001L || warned[parents[i]]) continue;
    warned[parents[i]] = true;
    reporter.warn(places[i], "the floors of the limits of " + quote(parent.name) +
                                 " are together more than its " +
                                 format_rate({parent.amount, parent.period_ns}) +
                                 "; they will be cut alike");
  }
}

}  // namespace

LimitScope read_scope(const MapReader& map, ParseContext& context) {
  LimitScope scope = context.server_file ? LimitScope::cluster : LimitScope::host;
  if (const auto index = map.choice("scope", kScopeNames)) {
    scope = static_cast<LimitScope>(*index);
  }
  if (scope == LimitScope::cluster) return scope;
  if (context.server_file) {
    map.error("scope",
              "a server has limits with scope: cluster alone; put the limit into the "
              "hosts' own rules");
    return LimitScope::cluster;
  }
  for (const std::string_view key : kClusterKeys) {
    if (map.has(key)) map.error(key, quote_word(key) + " goes with scope: cluster alone");
  }
  return scope;
}

void read_cluster_limit(const MapReader& map, LimitRule& rule, bool sized, ParseContext& context) {
  if (rule.algorithm != shm::Algorithm::token_bucket) {
    map.error("algorithm", "algorithm " + quote(to_text(rule.algorithm)) +
                               " does not go with scope: cluster; allowed: token_bucket, that is a "
                               "rate and a burst. For the others " +
                               where_else(context));
  }
  ShareParser{map, sized, context}.read(rule);
}

void check_parents(const std::vector<LimitRule>& limits, const std::vector<Place>& places,
                   const std::vector<std::string>& host_limits, Reporter& reporter) {
  const auto parents = parent_indexes(limits, places, host_limits, reporter);
  check_circles(limits, places, parents, reporter);
  check_floors(limits, places, parents, reporter);
}

}  // namespace weir
