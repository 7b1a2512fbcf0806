#include "rules/source_text.h"

#include <algorithm>

#include "rules/text.h"

namespace weir {
namespace {

constexpr std::string_view kUtf8Mark = "\xef\xbb\xbf";

bool looks_like_utf16(std::string_view text) noexcept {
  return text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
         text.starts_with(std::string_view{"\0\0\xfe\xff", 4});
}

std::string hex(unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  return {kDigits[byte >> 4], kDigits[byte & 15U]};
}

}  // namespace

SourceText::SourceText(std::string_view text) : text_(text) {
  if (text_.starts_with(kUtf8Mark)) {
    had_byte_order_mark_ = true;
    text_.remove_prefix(kUtf8Mark.size());
  }
  line_starts_.push_back(0);
  if (text_.size() > kRulesFileBytesMax) return;  // refused; nobody asks for a place in it
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] == '\n') line_starts_.push_back(i + 1);
  }
}

std::string_view SourceText::line(std::size_t line_index) const noexcept {
  if (line_index >= line_starts_.size()) return {};
  const std::size_t start = line_starts_[line_index];
  const std::size_t end =
      line_index + 1 < line_starts_.size() ? line_starts_[line_index + 1] - 1 : text_.size();
  return text_.substr(start, end - start);
}

std::string_view SourceText::from(std::size_t line_index, std::size_t byte_index) const noexcept {
  if (line_index >= line_starts_.size()) return {};
  return text_.substr(std::min(line_starts_[line_index] + byte_index, text_.size()));
}

Place SourceText::place(std::size_t line_index, std::size_t byte_index) const noexcept {
  const std::string_view before = line(line_index).substr(0, byte_index);
  const std::size_t past_end = byte_index - before.size();
  return {static_cast<int>(line_index + 1),
          static_cast<int>(characters_in(before) + std::min<std::size_t>(past_end, 1) + 1)};
}

PlacedMessage SourceText::at_byte(std::size_t byte_index, std::string message) const {
  const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), byte_index);
  const auto index = static_cast<std::size_t>(after - line_starts_.begin()) - 1;
  return {place(index, byte_index - line_starts_[index]), std::move(message)};
}

std::optional<PlacedMessage> SourceText::defect() const {
  if (text_.size() > kRulesFileBytesMax) {
    return PlacedMessage{{}, "the file is larger than 4 MiB, the most that a rules file may have"};
  }
  if (looks_like_utf16(text_)) {
    return PlacedMessage{{1, 1},
                         "the file is UTF-16 or UTF-32 by its byte order mark; save it as "
                         "UTF-8"};
  }
  const auto is_flow_mark = [](char c) { return c == '[' || c == '{' || c == ','; };
  if (std::count_if(text_.begin(), text_.end(), is_flow_mark) >
      static_cast<std::ptrdiff_t>(kRulesFlowMarksMax)) {
    return PlacedMessage{{}, "the file holds more than 400000 brackets and commas"};
  }
  for (std::size_t i = 0; i < line_starts_.size(); ++i) {
    if (auto found = defect_in_line(i)) return found;
  }
  return std::nullopt;
}

std::optional<PlacedMessage> SourceText::defect_in_line(std::size_t line_index) const {
  const std::string_view line_text = line(line_index);
  const std::size_t start = line_starts_[line_index];
  if (line_text.size() > kRulesLineBytesMax) {
    return at_byte(start, "the line is longer than 256 KiB; break it up");
  }
  for (std::size_t i = 0; i < line_text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(line_text[i]);
    if (byte == 0) return at_byte(start + i, "the file holds a NUL byte; is it a text file?");
    const bool line_end = byte == '\r' && i + 1 == line_text.size();
    if ((byte < 0x20 && byte != '\t' && !line_end) || byte == 0x7f) {
      return at_byte(start + i, "the file holds the control character 0x" + hex(byte));
    }
  }
  const std::size_t bad = first_invalid_utf8(line_text);
  if (bad != line_text.npos) {
    return at_byte(start + bad, "the byte 0x" + hex(static_cast<unsigned char>(line_text[bad])) +
                                    " is not valid UTF-8; save the file as UTF-8");
  }
  // YAML forbids tabs in the indentation, but its parsers name them in riddles.
  const std::size_t text_at = line_text.find_first_not_of(" \t\r");
  const std::size_t tab_at = line_text.find('\t');
  if (text_at != line_text.npos && line_text[text_at] != '#' && tab_at < text_at) {
    return at_byte(start + tab_at, "a tab in the indentation; YAML takes spaces alone");
  }
  return std::nullopt;
}

}  // namespace weir
