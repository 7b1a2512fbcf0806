// How the parser looks at a map of the file: known keys, one value for each, problems collected.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rules/parse.h"
#include "rules/source_text.h"

namespace weir {

struct YamlNode;
struct YamlEntry;

// Collects problems, up to a bound: a file in the wrong language has one on each line.
class Reporter {
 public:
  explicit Reporter(std::string file) : file_(std::move(file)) {}

  void error(Place place, std::string message);
  void warn(Place place, std::string message);
  bool failed() const noexcept { return !errors_.empty(); }

  // Sorted by place.
  std::vector<Problem> take_errors();
  std::vector<Problem> take_warnings();
  std::size_t errors_left_out() const noexcept { return errors_left_out_; }

 private:
  std::string file_;
  std::vector<Problem> errors_;
  std::vector<Problem> warnings_;
  std::size_t errors_left_out_ = 0;
};

// "unknown <what> 'x'<where>; did you mean 'y'? allowed: ..."
std::string unknown_word(std::string_view what, std::string_view word,
                         std::span<const std::string_view> allowed, std::string_view where = {});

// A map whose keys are known. `what` names it in messages: "a limit".
class MapReader {
 public:
  MapReader(const YamlNode& node, std::string_view what, std::span<const std::string_view> keys,
            Reporter& reporter);

  bool valid() const noexcept { return valid_; }
  Place place() const noexcept;
  // Null when the key is absent. A key without a value is reported and counts as present.
  const YamlEntry* find(std::string_view key) const noexcept;
  bool has(std::string_view key) const noexcept { return find(key) != nullptr; }
  Place place_of(std::string_view key) const noexcept;

  // The single value of a key. Absent or of another kind (which is reported): nothing.
  std::optional<std::string_view> scalar(std::string_view key, std::string_view example) const;
  // One word out of a few, as its index.
  std::optional<std::size_t> choice(std::string_view key,
                                    std::span<const std::string_view> words) const;
  // A value that `parse` understands, and its errors in our words.
  template <class Parse>
  auto value(std::string_view key, std::string_view example, Parse parse) const {
    decltype(parse(std::string_view{}).value) result;
    if (const auto text = scalar(key, example)) {
      auto parsed = parse(*text);
      if (!parsed.value) report_value(key, *text, parsed.error);
      result = std::move(parsed.value);
    }
    return result;
  }
  void report_value(std::string_view key, std::string_view text, std::string_view error) const;
  void error(std::string_view key, std::string message) const;

 private:
  const YamlNode& node_;
  std::string_view what_;
  Reporter& reporter_;
  bool valid_ = false;
};

}  // namespace weir
