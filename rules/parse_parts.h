// The parts of parse.cpp: one domain, one limit, what agents and servers need to find each other.
// Internal to this folder.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rules/address.h"
#include "rules/duration.h"
#include "rules/parse.h"
#include "rules/reader.h"
#include "rules/tz.h"
#include "rules/yaml_tree.h"

namespace weir {

struct ParseContext {
  const ParseOptions& options;
  Reporter& reporter;
  bool server_file = false;
  std::map<std::string, ZoneResult, std::less<>> zones = {};  // each file is read once
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
  Place scope_place;
  Place parent_place;
  bool domain_given = false;
};
std::optional<ParsedLimit> parse_limit(const YamlNode& node, ParseContext& context);

// ---- limits of a cluster

LimitScope read_scope(const MapReader& map, ParseContext& context);
// `sized`: the limit's own rate is known.
void read_cluster_limit(const MapReader& map, LimitRule& rule, bool sized, ParseContext& context);
// Parents that are missing, circles, floors that do not fit. The places are those of 'parent'.
void check_parents(const std::vector<LimitRule>& limits, const std::vector<Place>& places,
                   const std::vector<std::string>& host_limits, Reporter& reporter);

// ---- agents and servers

struct ParsedCluster {
  ClusterRule rule;
  Place domain_place;
  Place server_place;
};
// The root keys 'server' and 'cluster', without the limits.
ParsedCluster parse_cluster(const MapReader& root, ParseContext& context);

void read_tls(const MapReader& map, bool server, TlsRule& tls, ParseContext& context);
void read_http_tls(const MapReader& map, TlsRule& tls, ParseContext& context);
// `listen`: of the same file.
EtcdRule read_etcd(const MapReader& map, const std::vector<std::string>& listen,
                   ParseContext& context);
void read_access(const MapReader& map, AccessRule& access, Reporter& reporter);
LeaseRule read_lease(const MapReader& map, ParseContext& context);
std::vector<std::string> read_addresses(const MapReader& map, std::string_view key, AddressUse use,
                                        Reporter& reporter);
std::uint32_t read_guard(const MapReader& map);
// What a server needs of its clients' certificates, when the file does not say; and what does not
// fit together.
void settle_clients(const MapReader& map, TlsRule& tls,
                    const std::vector<const AccessRule*>& namespaces, Reporter& reporter);
// Of addresses that other hosts reach: the first; empty when there is none.
std::string first_open_address(const std::vector<std::string>& addresses);

// ---- values

// Of a-z A-Z 0-9 . _ -, with a letter or digit first: safe in a path, a metric's label, a shell.
bool is_plain_name(std::string_view name, std::size_t bytes_max) noexcept;
Parsed<std::uint64_t> parse_duration_within(std::string_view text, std::uint64_t least_ns,
                                            std::uint64_t most_ns);
Parsed<std::uint64_t> parse_count_within(std::string_view text, std::uint64_t least,
                                         std::uint64_t most);
// Empty when the text can be the name of a limit or a resource.
std::string limit_name_problem(std::string_view name);
// The key 'priority': what each class leaves to those above it. `whole`: of how much; 0: not known.
void read_class_shares(const MapReader& map, std::uint64_t whole,
                       std::array<std::uint32_t, shm::kClasses>& reserve_permille,
                       ParseContext& context);
// An absolute path without control characters.
Parsed<std::string> parse_path(std::string_view text);
Parsed<bool> parse_yes(std::string_view text);  // true or false
// "sha256:" and 64 hexadecimal digits.
bool is_token_hash_text(std::string_view text) noexcept;
// The items of a list of single values; also of a value alone. What is wrong is reported.
struct ListItem {
  std::string text;
  Place place;
};
std::vector<ListItem> read_list(const MapReader& map, std::string_view key, std::size_t items_max,
                                std::string_view example, Reporter& reporter);

}  // namespace weir
