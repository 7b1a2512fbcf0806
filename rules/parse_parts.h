// The parts of parse.cpp: one domain, one limit. Internal to this folder.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "rules/parse.h"
#include "rules/reader.h"
#include "rules/tz.h"
#include "rules/yaml_tree.h"

namespace weir {

struct ParseContext {
  const ParseOptions& options;
  Reporter& reporter;
  std::map<std::string, ZoneResult, std::less<>> zones;  // each file is read once
};

// Both report what is wrong and return what they could read, so that later checks find the name.
// Nothing when the name itself is unusable.
struct ParsedDomain {
  DomainRule rule;
  Place name_place;
  Place socket_place;
};
std::optional<ParsedDomain> parse_domain(const YamlNode& node, ParseContext& context);
DomainRule default_domain();

struct ParsedLimit {
  LimitRule rule;
  std::string domain;
  Place name_place;
  Place domain_place;
  bool domain_given = false;
};
std::optional<ParsedLimit> parse_limit(const YamlNode& node, ParseContext& context);

}  // namespace weir
