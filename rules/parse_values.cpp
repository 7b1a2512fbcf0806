// Values that several parts of a file share.
#include <algorithm>

#include "rules/parse_parts.h"
#include "rules/text.h"
#include "rules/yaml_tree.h"

namespace weir {
namespace {

constexpr std::size_t kPathBytesMax = 4096;

bool is_alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

bool is_plain_name(std::string_view name, std::size_t bytes_max) noexcept {
  if (name.empty() || name.size() > bytes_max || !is_alphanumeric(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

Parsed<std::uint64_t> parse_duration_within(std::string_view text, std::uint64_t least_ns,
                                            std::uint64_t most_ns) {
  Parsed<std::uint64_t> parsed = parse_duration_ns(text);
  if (parsed.value && (*parsed.value < least_ns || *parsed.value > most_ns)) {
    parsed = {std::nullopt, "is out of range; allowed: " + format_duration_ns(least_ns) + " to " +
                                format_duration_ns(most_ns)};
  }
  return parsed;
}

Parsed<std::uint64_t> parse_count_within(std::string_view text, std::uint64_t least,
                                         std::uint64_t most) {
  Parsed<std::uint64_t> parsed = parse_count(text);
  if (parsed.value && (*parsed.value < least || *parsed.value > most)) {
    parsed = {std::nullopt,
              "is out of range; allowed: " + std::to_string(least) + " to " + std::to_string(most)};
  }
  return parsed;
}

std::string limit_name_problem(std::string_view name) {
  if (name.empty()) return "is empty; allowed: 1 to 127 bytes";
  if (name.size() > shm::kNameBytesMax) return "is longer than 127 bytes";
  if (has_control_character(name)) return "holds a control character";
  if (name.front() == ' ' || name.back() == ' ') return "starts or ends with a space";
  return {};
}

void read_class_shares(const MapReader& map, std::uint64_t whole,
                       std::array<std::uint32_t, shm::kClasses>& reserve_permille,
                       ParseContext& context) {
  const YamlEntry* entry = map.find("priority");
  if (entry == nullptr || entry->value->kind == YamlKind::null) return;
  const MapReader shares{*entry->value, "'priority'", kClassNames, context.reporter};
  if (!shares.valid()) return;
  std::uint32_t above = 0;
  for (std::size_t i = 0; i < kClassNames.size(); ++i) {
    const std::string_view name = kClassNames[i];
    // A class that is not named leaves as much as the one above it.
    const auto given = shares.value(name, "20%", parse_permille);
    const std::uint32_t permille = given.value_or(above);
    reserve_permille[i] = permille;
    if (i == 0 && permille != 0) {
      shares.error(name, "critical_plus is the highest class and leaves nothing; allowed: 0%");
      continue;  // the lower ones are not to be measured by it
    }
    if (permille < above) {
      shares.error(name, std::string{name} + " leaves " + format_permille(permille) +
                             ", less than " + std::string{kClassNames[i - 1]} + " above it (" +
                             format_permille(above) +
                             "); a lower class must leave at least as "
                             "much");
    }
    above = std::max(above, permille);
    const std::uint64_t left = (whole * permille + 999) / 1000;
    if (whole != 0 && given && left >= whole) {
      context.reporter.warn(shares.place_of(name), "of " + std::to_string(whole) + ", the class " +
                                                       std::string{name} + " leaves " +
                                                       std::to_string(left) +
                                                       " to those above it, so it never gets one");
    }
  }
}

Parsed<std::string> parse_path(std::string_view text) {
  if (!text.starts_with('/')) return {std::nullopt, "must be an absolute path"};
  if (text.size() > kPathBytesMax) return {std::nullopt, "is longer than 4096 bytes"};
  if (has_control_character(text)) return {std::nullopt, "holds a control character"};
  return {std::string{text}, {}};
}

Parsed<bool> parse_yes(std::string_view text) {
  if (text == "true") return {true, {}};
  if (text == "false") return {false, {}};
  return {std::nullopt, "is not known; allowed: true, false"};
}

std::vector<ListItem> read_list(const MapReader& map, std::string_view key, std::size_t items_max,
                                std::string_view example, Reporter& reporter) {
  std::vector<ListItem> items;
  const YamlEntry* entry = map.find(key);
  if (entry == nullptr || entry->value->kind == YamlKind::null) return items;
  const std::string quoted = quote_word(key);
  if (entry->value->kind == YamlKind::scalar) {
    items.push_back({entry->value->text, entry->value->place});
    return items;
  }
  if (entry->value->kind != YamlKind::sequence) {
    map.error(key, quoted + " must be a list such as " + std::string{example});
    return items;
  }
  if (entry->value->items.size() > items_max) {
    map.error(key, quoted + " has more than " + std::to_string(items_max) + " entries");
    return items;
  }
  for (const YamlRef& item : entry->value->items) {
    if (item->kind != YamlKind::scalar) {
      reporter.error(item->place,
                     quoted + " must hold single values, such as " + std::string{example});
      continue;
    }
    const auto same = [&](const ListItem& each) { return each.text == item->text; };
    if (std::any_of(items.begin(), items.end(), same)) {
      // A token that stands there unhashed is not repeated either.
      const std::string what = key == "tokens" ? "this one" : quote(item->text);
      reporter.error(item->place, std::string{key} + ": " + what + " stands twice");
      continue;
    }
    items.push_back({item->text, item->place});
  }
  return items;
}

}  // namespace weir
