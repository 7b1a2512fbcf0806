#include "rules/parse.h"

#include <array>
#include <exception>
#include <unordered_map>

#include "rules/file.h"
#include "rules/parse_parts.h"
#include "rules/text.h"
#include "rules/toolkit_parts.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 7> kRootKeys{"version", "domains",   "limits", "server",
                                                    "cluster", "resources", "degrade"};

class FileParser {
 public:
  explicit FileParser(ParseContext& context) : context_(context) {}

  RuleSet parse(const YamlNode& root) {
    const MapReader map{root, "a rules file", kRootKeys, context_.reporter};
    if (!map.valid()) return {};
    read_version(map);
    read_domains(map);
    ParsedCluster cluster = parse_cluster(map, context_);
    rules_.cluster = std::move(cluster.rule);
    check_cluster_domain(cluster.domain_place);
    read_limits(map);
    check_cluster_limits();
    read_toolkit(list(map, "resources"), list(map, "degrade"), rules_, context_);
    collect_permits();
    return std::move(rules_);
  }

 private:
  // The list under a key; null when it is absent or, which is reported, something else.
  const YamlNode* list(const MapReader& map, std::string_view key) {
    const YamlEntry* entry = map.find(key);
    if (entry == nullptr || entry->value->kind == YamlKind::null) return nullptr;
    if (entry->value->kind == YamlKind::sequence) return entry->value.get();
    map.error(key, quote_word(key) + " must be a list, with '- ' before each entry");
    return nullptr;
  }

  void read_version(const MapReader& map) {
    if (!map.has("version")) {
      context_.reporter.error(map.place(), "the file needs 'version: 1'");
    }
    const auto version = map.scalar("version", "1");
    if (version && *version != "1") {
      map.error("version", "version " + quote(*version) + " is not known; allowed: 1");
    }
  }

  void read_domains(const MapReader& map) {
    const YamlNode* domains = list(map, "domains");
    if (!map.has("domains")) {
      add_domain({default_domain(), {}, {}});
      return;
    }
    if (domains == nullptr) return;
    if (domains->items.empty()) {
      map.error("domains", "'domains' is empty; leave it out to have the default domain");
    }
    for (const YamlRef& item : domains->items) {
      if (rules_.domains.size() == kDomainsMax) {
        context_.reporter.error(item->place, "more than 16 domains");
        return;
      }
      if (auto domain = parse_domain(*item, context_)) add_domain(std::move(*domain));
    }
  }

  void add_domain(ParsedDomain domain) {
    const int line = domain.rule.line;
    const auto [twin, fresh] = domain_index_.try_emplace(domain.rule.name, rules_.domains.size());
    if (!fresh) {
      context_.reporter.error(domain.name_place,
                              "the domain " + quote(domain.rule.name) +
                                  " exists already, on "
                                  "line " +
                                  std::to_string(rules_.domains[twin->second].line));
      return;
    }
    const auto [other, free] = socket_lines_.try_emplace(domain.rule.socket, line);
    if (!free) {
      context_.reporter.error(domain.socket_place, "the socket " + quote(domain.rule.socket) +
                                                       " is taken by the "
                                                       "domain on line " +
                                                       std::to_string(other->second));
    }
    rules_.domains.push_back(std::move(domain.rule));
  }

  void read_limits(const MapReader& map) {
    const YamlNode* limits = list(map, "limits");
    if (limits == nullptr) return;
    for (const YamlRef& item : limits->items) {
      if (auto limit = parse_limit(*item, context_)) add_limit(*item, std::move(*limit));
    }
  }

  // The resources that the cluster shares live in the cluster's domain, as its limits do.
  void collect_permits() {
    ClusterRule& cluster = rules_.cluster;
    for (const DomainRule& domain : rules_.domains) {
      for (const ResourceConfig& resource : domain.resources) {
        if (!resource.concurrency.cluster) continue;
        if (domain.name != cluster.domain) {
          context_.reporter.error(
              {resource.line, 1},
              "the resource " + quote(resource.name) + " has scope: cluster and is in the domain " +
                  quote(domain.name) + "; what the cluster shares is in the domain " +
                  quote(cluster.domain) + ", and cluster.domain names another");
          continue;
        }
        if (cluster.permits.size() == kPermitLimitsMax) {
          context_.reporter.error({resource.line, 1},
                                  "more than 512 resources with scope: cluster");
          return;
        }
        cluster.present = true;
        cluster.permits.push_back({resource.name, resource.concurrency.max, resource.line});
      }
    }
  }

  void check_cluster_domain(Place place) {
    ClusterRule& cluster = rules_.cluster;
    if (!cluster.present || domain_index_.contains(cluster.domain)) return;
    std::vector<std::string_view> names;
    for (const DomainRule& domain : rules_.domains)
      names.push_back(domain.name);
    if (place.line == 0) return;  // not given, and nothing says that it is needed
    context_.reporter.error(place, unknown_word("domain", cluster.domain, names));
  }

  // The limits that the cluster shares stay apart: the embedded server has them, and they come
  // back from it as from any other server.
  void add_cluster_limit(const YamlNode& node, ParsedLimit limit) {
    ClusterRule& cluster = rules_.cluster;
    cluster.present = true;
    if (!cluster.embedded()) {
      context_.reporter.error(limit.scope_place,
                              "the limit " + quote(limit.rule.name) +
                                  " has scope: cluster, and 'server' is elsewhere; it belongs into "
                                  "that server's rules");
      return;
    }
    const auto [twin, fresh] =
        limit_lines_.try_emplace(cluster.domain + '\0' + limit.rule.name, limit.rule.line);
    if (!fresh) {
      context_.reporter.error(limit.name_place, "the limit " + quote(limit.rule.name) +
                                                    " exists already, on line " +
                                                    std::to_string(twin->second));
      return;
    }
    if (cluster.limits.size() == kLimitsPerDomainMax) {
      context_.reporter.error(node.place, "more than 1024 limits with scope: cluster");
      return;
    }
    cluster.limits.push_back(std::move(limit.rule));
    parent_places_.push_back(limit.parent_place);
  }

  void check_cluster_limits() {
    ClusterRule& cluster = rules_.cluster;
    if (cluster.limits.empty()) return;
    std::vector<std::string> host_limits;
    std::size_t beside = 0;
    for (const DomainRule& domain : rules_.domains) {
      if (domain.name == cluster.domain) beside = domain.limits.size();
      for (const LimitRule& limit : domain.limits)
        host_limits.push_back(limit.name);
    }
    check_parents(cluster.limits, parent_places_, host_limits, context_.reporter);
    if (!domain_index_.contains(cluster.domain)) {
      context_.reporter.error({cluster.limits.front().line, 1},
                              "limits with scope: cluster live in the domain " +
                                  quote(cluster.domain) +
                                  ", which is not among 'domains'; cluster.domain names another");
    } else if (beside + cluster.limits.size() > kLimitsPerDomainMax) {
      context_.reporter.error({cluster.limits.front().line, 1},
                              "more than 1024 limits in the domain " + quote(cluster.domain) +
                                  ", those of the cluster included");
    }
  }

  void add_limit(const YamlNode& node, ParsedLimit limit) {
    if (limit.rule.scope == LimitScope::cluster) {
      add_cluster_limit(node, std::move(limit));
      return;
    }
    const auto found = domain_index_.find(limit.domain);
    if (found == domain_index_.end()) {
      report_unknown_domain(limit);
      return;
    }
    DomainRule& domain = rules_.domains[found->second];
    const auto [twin, fresh] =
        limit_lines_.try_emplace(limit.domain + '\0' + limit.rule.name, limit.rule.line);
    if (!fresh) {
      context_.reporter.error(limit.name_place, "the limit " + quote(limit.rule.name) +
                                                    " exists already in this domain, on line " +
                                                    std::to_string(twin->second));
      return;
    }
    if (domain.limits.size() == kLimitsPerDomainMax) {
      context_.reporter.error(node.place,
                              "more than 1024 limits in the domain " + quote(domain.name));
      return;
    }
    domain.limits.push_back(std::move(limit.rule));
  }

  void report_unknown_domain(const ParsedLimit& limit) {
    std::vector<std::string_view> names;
    for (const DomainRule& domain : rules_.domains)
      names.push_back(domain.name);
    if (limit.domain_given) {
      context_.reporter.error(limit.domain_place, unknown_word("domain", limit.domain, names));
      return;
    }
    context_.reporter.error(limit.name_place,
                            "a limit without 'domain' belongs to the domain 'default', which is "
                            "not among 'domains'; allowed: " +
                                join(names));
  }

  ParseContext& context_;
  RuleSet rules_;
  std::unordered_map<std::string, std::size_t> domain_index_;
  std::unordered_map<std::string, int> socket_lines_;
  std::unordered_map<std::string, int> limit_lines_;
  std::vector<Place> parent_places_;  // of the cluster's limits
};

RuleSet parse_text(std::string_view text, const ParseOptions& options, Reporter& reporter) {
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
  ParseContext context{options, reporter};
  return FileParser{context}.parse(*root);
}

}  // namespace

std::string to_string(const Problem& problem) {
  std::string text = problem.file;
  if (problem.line > 0) {
    text += ':';
    text += std::to_string(problem.line);
    text += ':';
    text += std::to_string(problem.column);
  }
  text += ": ";
  text += problem.message;
  return text;
}

ParseResult parse_rules(std::string_view text, std::string file_name,
                        const ParseOptions& options) noexcept {
  Reporter reporter{std::move(file_name)};
  RuleSet rules = parse_text(text, options, reporter);
  ParseResult result;
  if (reporter.failed()) {
    result.problems = reporter.take_errors();
    result.problems_left_out = reporter.errors_left_out();
    return result;
  }
  rules.warnings = reporter.take_warnings();
  result.rules = std::move(rules);
  return result;
}

ParseResult load_rules_file(const std::string& path, const ParseOptions& options) noexcept {
  const FileText file = read_file(path, kRulesFileBytesMax);
  if (file.error.empty()) return parse_rules(file.text, path, options);
  ParseResult result;
  result.problems.push_back({path, 0, 0, "the file " + file.error});
  return result;
}

}  // namespace weir
