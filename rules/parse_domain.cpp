// One entry of 'domains'.
#include <algorithm>
#include <array>

#include "rules/parse_parts.h"
#include "rules/text.h"

namespace weir {
namespace {

constexpr std::array<std::string_view, 3> kDomainKeys{"name", "allow", "socket"};
constexpr std::array<std::string_view, 2> kAllowKeys{"users", "groups"};
constexpr std::size_t kAccountBytesMax = 64;
constexpr std::uint64_t kAccountNumberMax = 4'294'967'294;  // (uid_t)-1 means nobody at all

bool is_number(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Empty when the text can be the name or the number of a user or a group.
std::string account_problem(std::string_view text) {
  if (text.empty()) return "is empty";
  if (text.size() > kAccountBytesMax) return "is longer than 64 bytes";
  if (is_number(text)) {
    std::uint64_t number = 0;
    for (const char c : text) {
      number = number * 10 + static_cast<std::uint64_t>(c - '0');
      if (number > kAccountNumberMax) return "is above 4294967294, the highest number";
    }
    return {};
  }
  if (text.front() == '-') return "is neither a name nor a number";
  if (has_control_character(text) || text.find_first_of(" :/,") != text.npos) {
    return "is neither a name nor a number";
  }
  return {};
}

std::vector<std::string> parse_accounts(const MapReader& allow, std::string_view key,
                                        Reporter& reporter) {
  std::vector<std::string> accounts;
  const YamlEntry* entry = allow.find(key);
  if (entry == nullptr || entry->value->kind == YamlKind::null) return accounts;
  const std::string quoted = quote_word(key);
  if (entry->value->kind != YamlKind::sequence) {
    allow.error(key, quoted + " must be a list of names or numbers, such as [weir, 1000]");
    return accounts;
  }
  if (entry->value->items.size() > kAllowedMax) {
    allow.error(key, quoted + " has more than 256 entries; use a group");
    return accounts;
  }
  for (const YamlRef& item : entry->value->items) {
    if (item->kind != YamlKind::scalar) {
      reporter.error(item->place, quoted + " must hold names or numbers alone");
      continue;
    }
    const std::string problem = account_problem(item->text);
    if (!problem.empty()) {
      reporter.error(item->place, std::string{key} + ": " + quote(item->text) + " " + problem);
    } else if (std::find(accounts.begin(), accounts.end(), item->text) != accounts.end()) {
      reporter.error(item->place, std::string{key} + ": " + quote(item->text) + " stands twice");
    } else {
      accounts.push_back(item->text);
    }
  }
  return accounts;
}

void parse_allow(const MapReader& map, DomainRule& rule, ParseContext& context) {
  const YamlEntry* entry = map.find("allow");
  if (entry == nullptr) {
    if (rule.name == kDefaultDomain) {
      rule.groups.emplace_back(kDefaultGroup);
    } else {
      context.reporter.error(map.place(), "the domain " + quote(rule.name) +
                                              " needs 'allow', such as allow: {groups: [web]}");
    }
    return;
  }
  if (entry->value->kind == YamlKind::null) return;
  const MapReader allow{*entry->value, "'allow'", kAllowKeys, context.reporter};
  if (!allow.valid()) return;
  rule.users = parse_accounts(allow, "users", context.reporter);
  rule.groups = parse_accounts(allow, "groups", context.reporter);
}

}  // namespace

DomainRule default_domain() {
  DomainRule rule;
  rule.name = kDefaultDomain;
  rule.socket = kDefaultSocket;
  rule.groups.emplace_back(kDefaultGroup);
  return rule;
}

std::optional<ParsedDomain> parse_domain(const YamlNode& node, ParseContext& context) {
  const MapReader map{node, "a domain", kDomainKeys, context.reporter};
  if (!map.valid()) return std::nullopt;
  if (!map.has("name")) context.reporter.error(node.place, "a domain needs 'name'");
  const auto name = map.scalar("name", "web");
  if (name && !is_plain_name(*name, kDomainNameBytesMax)) {
    map.error("name", "domain name " + quote(*name) +
                          " is not allowed; allowed: 1 to 63 of "
                          "a-z A-Z 0-9 . _ -, with a letter or digit first");
  }
  if (!name) return std::nullopt;
  ParsedDomain domain;
  domain.rule.name = *name;
  domain.rule.line = node.place.line;
  domain.name_place = map.place_of("name");
  domain.socket_place = map.place_of(map.has("socket") ? "socket" : "name");
  domain.rule.socket =
      domain.rule.name == kDefaultDomain ? std::string{kDefaultSocket} : domain.rule.name + ".sock";
  if (const auto socket = map.scalar("socket", "agent.sock")) {
    domain.rule.socket = *socket;
    if (!is_plain_name(*socket, kSocketNameBytesMax)) {
      map.error("socket",
                "socket " + quote(*socket) +
                    " is not allowed; allowed: a file name in "
                    "the runtime directory, 1 to 80 of a-z A-Z 0-9 . _ -, with a letter or "
                    "digit first");
    }
  }
  parse_allow(map, domain.rule, context);
  return domain;
}

}  // namespace weir
