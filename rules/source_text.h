// The bytes of a rules file before YAML sees them: what no rules file may hold, and where a byte
// stands for a reader who counts lines and characters from 1.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

inline constexpr std::size_t kRulesFileBytesMax = 4 * 1024 * 1024;
// The scanner below keeps the tokens of a whole line in memory.
inline constexpr std::size_t kRulesLineBytesMax = 256 * 1024;
// And those of a bracket until it is closed, before anybody can count them as values.
inline constexpr std::size_t kRulesFlowMarksMax = 400'000;

// Line 0 means the file as a whole.
struct Place {
  int line = 0;
  int column = 0;
};

struct PlacedMessage {
  Place place;
  std::string message;
};

class SourceText {
 public:
  // `text` must outlive this object.
  explicit SourceText(std::string_view text);

  std::string_view text() const noexcept { return text_; }  // without a byte order mark
  bool had_byte_order_mark() const noexcept { return had_byte_order_mark_; }

  // From a line and a byte of it, both counted from 0, to characters counted from 1.
  Place place(std::size_t line_index, std::size_t byte_index) const noexcept;
  std::string_view line(std::size_t line_index) const noexcept;
  // The text from this byte of this line on.
  std::string_view from(std::size_t line_index, std::size_t byte_index) const noexcept;

  // The first thing that makes the text unreadable: its size, encoding, control characters, tabs.
  std::optional<PlacedMessage> defect() const;

 private:
  PlacedMessage at_byte(std::size_t byte_index, std::string message) const;
  std::optional<PlacedMessage> defect_in_line(std::size_t line_index) const;

  std::string_view text_;
  bool had_byte_order_mark_ = false;
  std::vector<std::size_t> line_starts_;
};

}  // namespace weir
