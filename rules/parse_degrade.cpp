// One entry of 'degrade', and how resources and degrade entries find their domains.
#include <array>
#include <unordered_map>

#include "rules/text.h"
#include "rules/toolkit_parts.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 8> kDegradeKeys{"name",   "domain", "signal",     "resource",
                                                       "levels", "hold",   "leave_hold", "drill"};
constexpr std::array<std::string_view, 3> kLevelKeys{"enter", "leave", "features"};
constexpr std::array<std::string_view, 2> kDrillKeys{"level", "share"};
constexpr std::uint64_t kHoldMinNs = 10'000'000;
constexpr std::uint32_t kDrillMaxPermille = 200;

// A level is left at this share of where it is entered, when the file does not say.
constexpr std::uint64_t kLeaveDefaultPercent = 80;

class DegradeParser {
 public:
  DegradeParser(const MapReader& map, ParseContext& context) : map_(map), context_(context) {}

  void read(ParsedDegrade& degrade) {
    DegradeConfig& config = degrade.config;
    if (!map_.has("signal")) {
      context_.reporter.error(map_.place(), "a degrade entry needs 'signal', such as signal: cpu");
    }
    if (const auto signal = map_.choice("signal", kDegradeSignalNames)) {
      config.signal = static_cast<DegradeSignal>(*signal);
      read_resource(config);
      read_levels(degrade);
    }
    read_time("hold", "1s", config.hold_ns);
    read_time("leave_hold", "10s", config.leave_hold_ns);
    read_drill(config);
  }

 private:
  void read_resource(DegradeConfig& config) {
    if (const auto name = map_.scalar("resource", "orders")) config.resource = *name;
    const bool needed = is_of_a_resource(config.signal);
    const std::string signal{to_text(config.signal)};
    if (needed && !map_.has("resource")) {
      map_.error("signal", "signal: " + signal +
                               " is that of a resource and needs 'resource', such as resource: "
                               "orders");
    } else if (!needed && map_.has("resource")) {
      map_.error("resource", "'resource' does not go with signal: " + signal +
                                 ", which is that of the host; allowed: latency, queue, errors");
    }
  }

  Parsed<std::uint64_t> parse_threshold(std::string_view text) const {
    if (is_time_) return parse_duration_within(text, 1000, kHourNs);
    const Parsed<std::uint32_t> share = parse_permille(text);
    if (!share.value) return {std::nullopt, share.error};
    return {std::uint64_t{*share.value}, {}};
  }

  void read_levels(ParsedDegrade& degrade) {
    DegradeConfig& config = degrade.config;
    is_time_ = is_a_time(config.signal);
    const YamlEntry* entry = map_.find("levels");
    if (entry == nullptr) {
      context_.reporter.error(map_.place(),
                              "a degrade entry needs 'levels', a list such as [{enter: 85%, "
                              "features: [recommendations]}]");
      return;
    }
    if (entry->value->kind == YamlKind::null) return;
    if (entry->value->kind != YamlKind::sequence) {
      map_.error("levels", "'levels' must be a list, with '- ' before each entry");
      return;
    }
    if (entry->value->items.empty()) map_.error("levels", "'levels' is empty");
    for (const YamlRef& item : entry->value->items) {
      if (config.levels.size() == kDegradeLevelsPerRuleMax) {
        context_.reporter.error(item->place, "more than 8 levels");
        return;
      }
      read_level(*item, degrade);
    }
  }

  void read_level(const YamlNode& item, ParsedDegrade& degrade) {
    DegradeConfig& config = degrade.config;
    const MapReader map{item, "a level", kLevelKeys, context_.reporter};
    if (!map.valid()) return;
    const std::string_view example = is_time_ ? "200ms" : "85%";
    const auto parse = [this](std::string_view text) { return parse_threshold(text); };
    DegradeLevelConfig level;
    if (!map.has("enter")) {
      context_.reporter.error(item.place,
                              "a level needs 'enter', such as enter: " + std::string{example});
    }
    const auto enter = map.value("enter", example, parse);
    if (enter) level.enter = *enter;
    if (enter && *enter == 0) map.error("enter", "enter of 0 is always reached");
    level.leave = level.enter * kLeaveDefaultPercent / 100;
    const auto leave = map.value("leave", example, parse);
    if (leave) level.leave = *leave;
    if (enter && leave && level.leave >= level.enter) {
      map.error("leave", "leave " + format_signal(config.signal, level.leave) +
                             " is not below enter " + format_signal(config.signal, level.enter) +
                             "; the gap keeps the level from switching to and fro");
    }
    if (enter && !config.levels.empty() && level.enter <= config.levels.back().enter) {
      map.error("enter", "enter " + format_signal(config.signal, level.enter) +
                             " is not above that of the level before, " +
                             format_signal(config.signal, config.levels.back().enter));
    }
    for (const ListItem& feature : read_list(map, "features", kFeaturesPerDomainMax,
                                             "[recommendations]", context_.reporter)) {
      const std::string problem = limit_name_problem(feature.text);
      if (!problem.empty()) {
        context_.reporter.error(feature.place, "feature " + quote(feature.text) + " " + problem);
        continue;
      }
      level.features.push_back(feature.text);
      degrade.feature_places.push_back(feature.place);
    }
    config.levels.push_back(std::move(level));
  }

  void read_time(std::string_view key, std::string_view example, std::uint64_t& into) {
    const auto value = map_.value(key, example, [](std::string_view text) {
      return parse_duration_within(text, kHoldMinNs, kHourNs);
    });
    if (value) into = *value;
  }

  void read_drill(DegradeConfig& config) {
    const YamlEntry* entry = map_.find("drill");
    if (entry == nullptr || entry->value->kind == YamlKind::null) return;
    const MapReader map{*entry->value, "'drill'", kDrillKeys, context_.reporter};
    if (!map.valid()) return;
    config.drill_level = 1;
    const std::size_t most = std::max<std::size_t>(config.levels.size(), 1);
    const auto level = map.value(
        "level", "1", [most](std::string_view text) { return parse_count_within(text, 1, most); });
    if (level) config.drill_level = static_cast<std::uint32_t>(*level);
    if (!map.has("share")) {
      context_.reporter.error(map.place(), "'drill' needs 'share', such as share: 1%");
    }
    const auto share = map.value("share", "1%", [](std::string_view text) {
      Parsed<std::uint32_t> parsed = parse_permille(text);
      if (parsed.value && *parsed.value > kDrillMaxPermille) {
        parsed = {std::nullopt, "is more than a drill; allowed: 0% to 20%"};
      }
      return parsed;
    });
    if (share) config.drill_permille = *share;
  }

  const MapReader& map_;
  ParseContext& context_;
  bool is_time_ = false;
};

// Puts what was read where it belongs, and says what does not fit together.
class ToolkitFiler {
 public:
  ToolkitFiler(RuleSet& rules, ParseContext& context) : rules_(rules), context_(context) {
    for (std::size_t i = 0; i < rules.domains.size(); ++i)
      domains_.emplace(rules.domains[i].name, i);
  }

  void add(ParsedResource resource) {
    DomainRule* domain = find("resource", resource.domain, resource.domain_given,
                              resource.domain_place, resource.name_place);
    if (domain == nullptr) return;
    ResourceConfig& config = resource.config;
    if (!is_new(*domain, config.name, config.line, resource.name_place)) return;
    for (const TenantConfig& tenant : config.concurrency.tenants) {
      if (!is_new(*domain, config.name + "/" + tenant.name, config.line, resource.name_place))
        return;
    }
    std::size_t& places = places_[domain->name];
    places += config.places();
    if (places > kResourcesPerDomainMax) {
      context_.reporter.error(resource.name_place,
                              "more than 16384 resources, those of tenants "
                              "included, in the domain " +
                                  quote(domain->name));
      places -= config.places();
      return;
    }
    domain->resources.push_back(std::move(config));
  }

  void add(ParsedDegrade degrade) {
    DomainRule* domain = find("degrade entry", degrade.domain, degrade.domain_given,
                              degrade.domain_place, degrade.name_place);
    if (domain == nullptr) return;
    DegradeConfig& config = degrade.config;
    for (const DegradeConfig& each : domain->degrades) {
      if (each.name != config.name) continue;
      context_.reporter.error(degrade.name_place, "the degrade entry " + quote(config.name) +
                                                      " exists already in this domain, on line " +
                                                      std::to_string(each.line));
      return;
    }
    if (domain->degrades.size() == kDegradesPerDomainMax) {
      context_.reporter.error(degrade.name_place,
                              "more than 16 degrade entries in the domain " + quote(domain->name));
      return;
    }
    check_signal(*domain, degrade);
    check_features(*domain, degrade);
    domain->degrades.push_back(std::move(config));
  }

 private:
  DomainRule* find(std::string_view what, const std::string& name, bool given, Place domain_place,
                   Place name_place) {
    if (const auto found = domains_.find(name); found != domains_.end()) {
      return &rules_.domains[found->second];
    }
    std::vector<std::string_view> names;
    for (const DomainRule& domain : rules_.domains)
      names.push_back(domain.name);
    if (given) {
      context_.reporter.error(domain_place, unknown_word("domain", name, names));
    } else {
      context_.reporter.error(name_place, "a " + std::string{what} +
                                              " without 'domain' belongs to the domain 'default', "
                                              "which is not among 'domains'; allowed: " +
                                              join(names));
    }
    return nullptr;
  }

  bool is_new(const DomainRule& domain, const std::string& name, int line, Place place) {
    const auto [twin, fresh] = lines_.try_emplace(domain.name + '\0' + name, line);
    if (fresh) return true;
    context_.reporter.error(place, "the resource " + quote(name) +
                                       " exists already in this domain, on line " +
                                       std::to_string(twin->second));
    return false;
  }

  void check_signal(const DomainRule& domain, const ParsedDegrade& degrade) {
    const DegradeConfig& config = degrade.config;
    if (config.resource.empty() || !is_of_a_resource(config.signal)) return;
    std::vector<std::string_view> names;
    for (const ResourceConfig& each : domain.resources) {
      names.push_back(each.name);
      if (each.name != config.resource) continue;
      if (config.signal == DegradeSignal::queue && each.shed.kind == ShedKind::off) {
        context_.reporter.error(degrade.resource_place,
                                "signal: queue needs a resource with 'shed', which knows how long "
                                "a response takes without a queue");
      }
      return;
    }
    context_.reporter.error(degrade.resource_place,
                            unknown_word("resource", config.resource, names));
  }

  void check_features(const DomainRule& domain, const ParsedDegrade& degrade) {
    std::size_t count = degrade.config.features();
    for (const DegradeConfig& each : domain.degrades)
      count += each.features();
    std::size_t place = 0;
    for (const DegradeLevelConfig& level : degrade.config.levels) {
      for (const std::string& feature : level.features) {
        const Place where = degrade.feature_places[place++];
        const auto [twin, fresh] =
            features_.try_emplace(domain.name + '\0' + feature, degrade.config.name);
        if (fresh) continue;
        context_.reporter.error(where, "the feature " + quote(feature) +
                                           " is given up already by the degrade entry " +
                                           quote(twin->second));
      }
    }
    if (count > kFeaturesPerDomainMax) {
      context_.reporter.error(degrade.name_place,
                              "more than 128 features in the domain " + quote(domain.name));
    }
  }

  RuleSet& rules_;
  ParseContext& context_;
  std::unordered_map<std::string, std::size_t> domains_;
  std::unordered_map<std::string, std::size_t> places_;  // taken, by domain
  std::unordered_map<std::string, int> lines_;
  std::unordered_map<std::string, std::string> features_;
};

}  // namespace

std::optional<ParsedDegrade> parse_degrade(const YamlNode& node, ParseContext& context) {
  const MapReader map{node, "a degrade entry", kDegradeKeys, context.reporter};
  if (!map.valid()) return std::nullopt;
  ParsedDegrade degrade;
  degrade.config.line = node.place.line;
  degrade.name_place = map.place_of("name");
  degrade.domain_place = map.place_of("domain");
  degrade.resource_place = map.place_of("resource");
  degrade.domain_given = map.has("domain");
  degrade.domain = map.scalar("domain", "default").value_or(kDefaultDomain);
  const auto name = map.scalar("name", "shop");
  if (!map.has("name")) context.reporter.error(node.place, "a degrade entry needs 'name'");
  const std::string problem = name ? limit_name_problem(*name) : std::string{};
  if (!problem.empty()) map.error("name", "name " + quote(*name) + " " + problem);
  DegradeParser{map, context}.read(degrade);
  if (!name || !problem.empty()) return std::nullopt;
  degrade.config.name = *name;
  return degrade;
}

void read_toolkit(const YamlNode* resources, const YamlNode* degrades, RuleSet& rules,
                  ParseContext& context) {
  ToolkitFiler filer{rules, context};
  if (resources != nullptr) {
    for (const YamlRef& item : resources->items) {
      if (auto resource = parse_resource(*item, context)) filer.add(std::move(*resource));
    }
  }
  if (degrades == nullptr) return;
  for (const YamlRef& item : degrades->items) {
    if (auto degrade = parse_degrade(*item, context)) filer.add(std::move(*degrade));
  }
}

}  // namespace weir
