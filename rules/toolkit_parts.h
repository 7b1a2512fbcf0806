// The parts of parse_toolkit.cpp and parse_degrade.cpp that the rules file needs. Internal to this
// folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rules/diff_parts.h"
#include "rules/parse_parts.h"
#include "rules/toolkit.h"

namespace weir {

struct ParsedResource {
  ResourceConfig config;
  std::string domain;
  Place name_place;
  Place domain_place;
  bool domain_given = false;
};
std::optional<ParsedResource> parse_resource(const YamlNode& node, ParseContext& context);

struct ParsedDegrade {
  DegradeConfig config;
  std::string domain;
  Place name_place;
  Place domain_place;
  Place resource_place;
  std::vector<Place> feature_places;  // of all levels, in order
  bool domain_given = false;
};
std::optional<ParsedDegrade> parse_degrade(const YamlNode& node, ParseContext& context);

// 2, 1.5, 1.05: a factor in thousandths, within bounds that are in thousandths as well.
Parsed<std::uint32_t> parse_factor_within(std::string_view text, std::uint32_t least,
                                          std::uint32_t most);
// Reads both lists, either of which may be absent, into the domains that they name.
void read_toolkit(const YamlNode* resources, const YamlNode* degrades, RuleSet& rules,
                  ParseContext& context);

Fields describe(const ResourceConfig& resource);
Fields describe(const DegradeConfig& degrade);
// Of one domain; null where it does not exist. One of the two does.
void add_toolkit_changes(const DomainRule* before, const DomainRule* after, ChangeList& changes);

}  // namespace weir
