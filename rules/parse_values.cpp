// Values that several parts of a file share.
#include <algorithm>

#include "rules/parse_parts.h"
#include "rules/text.h"

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
