#include "rules/reader.h"

#include <algorithm>

#include "rules/text.h"
#include "rules/yaml_tree.h"

namespace weir {
namespace {

std::vector<Problem> sorted(std::vector<Problem> problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return a.line != b.line ? a.line < b.line : a.column < b.column;
  });
  return problems;
}

std::string_view kind_name(YamlKind kind) noexcept {
  if (kind == YamlKind::sequence) return "a list";
  if (kind == YamlKind::map) return "a map";
  return kind == YamlKind::null ? "empty" : "a single value";
}

}  // namespace

void Reporter::error(Place place, std::string message) {
  if (errors_.size() >= kProblemsMax) {
    ++errors_left_out_;
    return;
  }
  errors_.push_back({file_, place.line, place.column, std::move(message)});
}

void Reporter::warn(Place place, std::string message) {
  if (warnings_.size() >= kProblemsMax) return;
  warnings_.push_back({file_, place.line, place.column, std::move(message)});
}

std::vector<Problem> Reporter::take_errors() { return sorted(std::move(errors_)); }
std::vector<Problem> Reporter::take_warnings() { return sorted(std::move(warnings_)); }

std::string unknown_word(std::string_view what, std::string_view word,
                         std::span<const std::string_view> allowed, std::string_view where) {
  std::string message = "unknown " + std::string{what} + " " + quote(word) + std::string{where};
  const std::string_view meant = did_you_mean(word, allowed);
  message += meant.empty() ? "; " : "; did you mean '" + std::string{meant} + "'? ";
  return message + "allowed: " + join(allowed);
}

MapReader::MapReader(const YamlNode& node, std::string_view what,
                     std::span<const std::string_view> keys, Reporter& reporter)
    : node_(node), what_(what), reporter_(reporter), valid_(node.kind == YamlKind::map) {
  if (!valid_) {
    reporter_.error(node.place, std::string{what} + " must be a map of keys and values, not " +
                                    std::string{kind_name(node.kind)} +
                                    "; its keys: " + join(keys));
    return;
  }
  const std::string where = " in " + std::string{what};
  for (const YamlEntry& entry : node.entries) {
    if (!index_of(keys, entry.key)) {
      reporter_.error(entry.key_place, unknown_word("key", entry.key, keys, where));
    } else if (entry.value->kind == YamlKind::null) {
      reporter_.error(entry.key_place, quote_word(entry.key) +
                                           " has no value; give one or take the "
                                           "key out");
    }
  }
}

Place MapReader::place() const noexcept { return node_.place; }

const YamlEntry* MapReader::find(std::string_view key) const noexcept {
  for (const YamlEntry& entry : node_.entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

Place MapReader::place_of(std::string_view key) const noexcept {
  const YamlEntry* entry = find(key);
  if (entry == nullptr) return node_.place;
  return entry->value->kind == YamlKind::null ? entry->key_place : entry->value->place;
}

std::optional<std::string_view> MapReader::scalar(std::string_view key,
                                                  std::string_view example) const {
  const YamlEntry* entry = find(key);
  if (entry == nullptr || entry->value->kind == YamlKind::null) return std::nullopt;
  if (entry->value->kind != YamlKind::scalar) {
    error(key, quote_word(key) + " must be a single value such as " + std::string{example} +
                   ", not " + std::string{kind_name(entry->value->kind)});
    return std::nullopt;
  }
  return entry->value->text;
}

std::optional<std::size_t> MapReader::choice(std::string_view key,
                                             std::span<const std::string_view> words) const {
  const auto text = scalar(key, words.front());
  if (!text) return std::nullopt;
  const auto index = index_of(words, *text);
  if (!index) error(key, unknown_word(key, *text, words));
  return index;
}

void MapReader::report_value(std::string_view key, std::string_view text,
                             std::string_view problem) const {
  error(key, std::string{key} + " " + quote(text) + " " + std::string{problem});
}

void MapReader::error(std::string_view key, std::string message) const {
  reporter_.error(place_of(key), std::move(message));
}

}  // namespace weir
