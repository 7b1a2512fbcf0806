#include "daemon/log/escape.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

namespace weir {
namespace {

constexpr std::string_view kCutMark = "...";

constexpr Character broken(std::string_view text) noexcept {
  return {.value = static_cast<unsigned char>(text[0]), .bytes = 1, .valid = false};
}

// Twelve bytes hold the longest escape of one character, a pair of surrogates.
class Escape {
 public:
  template <class... Args>
  explicit Escape(const char* format, Args... args) noexcept {
    const int bytes = std::snprintf(text_.data(), text_.size(), format, args...);
    bytes_ = bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
  }
  std::string_view view() const noexcept { return {text_.data(), bytes_}; }

 private:
  std::array<char, 16> text_{};
  std::size_t bytes_ = 0;
};

void append_json_character(std::string& out, std::string_view whole, const Character& character) {
  if (!character.valid) {
    out += "\\ufffd";
  } else if (character.value == U'"' || character.value == U'\\') {
    out += '\\';
    out += whole;
  } else if (character.value == U'\n') {
    out += "\\n";
  } else if (!drives_a_terminal(character.value)) {
    out += whole;
  } else if (character.value < 0x10000) {
    out += Escape("\\u%04x", static_cast<unsigned>(character.value)).view();
  } else {
    const auto above = static_cast<unsigned>(character.value - 0x10000);
    out += Escape("\\u%04x\\u%04x", 0xd800U + (above >> 10), 0xdc00U + (above & 0x3ffU)).view();
  }
}

void append_printable_character(std::string& out, std::string_view whole,
                                const Character& character) {
  if (!character.valid || (drives_a_terminal(character.value) && character.value < 0x80)) {
    if (character.valid && character.value == U'\n') {
      out += "\\n";
    } else if (character.valid && character.value == U'\t') {
      out += "\\t";
    } else {
      out += Escape("\\x%02x", static_cast<unsigned>(character.value)).view();
    }
  } else if (drives_a_terminal(character.value)) {
    out += Escape("\\u{%x}", static_cast<unsigned>(character.value)).view();
  } else {
    out += whole;
  }
}

template <class Append>
void append_escaped(std::string& out, std::string_view text, std::size_t bytes_max, Append append) {
  // Most text is plain, and then it is copied in one go.
  const auto plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  if (text.size() <= bytes_max && std::all_of(text.begin(), text.end(), plain)) {
    out += text;
    return;
  }
  const std::size_t start = out.size();
  std::size_t cut_at = start;  // the last place where "..." still fits
  while (!text.empty()) {
    const Character character = first_character(text);
    append(out, text.substr(0, character.bytes), character);
    text.remove_prefix(character.bytes);
    const std::size_t bytes = out.size() - start;
    if (bytes + kCutMark.size() <= bytes_max) cut_at = out.size();
    if (bytes > bytes_max) {
      out.resize(cut_at);
      out += kCutMark.substr(0, bytes_max);
      return;
    }
  }
}

}  // namespace

Character first_character(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {.value = lead, .bytes = 1, .valid = true};
  std::size_t bytes = 0;
  char32_t value = 0;
  char32_t smallest = 0;
  if ((lead & 0xe0U) == 0xc0) {
    bytes = 2, value = lead & 0x1fU, smallest = 0x80;
  } else if ((lead & 0xf0U) == 0xe0) {
    bytes = 3, value = lead & 0x0fU, smallest = 0x800;
  } else if ((lead & 0xf8U) == 0xf0) {
    bytes = 4, value = lead & 0x07U, smallest = 0x10000;
  } else {
    return broken(text);
  }
  if (text.size() < bytes) return broken(text);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return broken(text);
    value = (value << 6) | (byte(i) & 0x3fU);
  }
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < smallest || value > 0x10ffff || surrogate) return broken(text);
  return {.value = value, .bytes = bytes, .valid = true};
}

bool drives_a_terminal(char32_t value) noexcept {
  const auto within = [value](char32_t low, char32_t high) {
    return value >= low && value <= high;
  };
  return value < 0x20 || within(0x7f, 0x9f) ||  // C0, DEL, C1
         value == 0xad || value == 0x61c || value == 0x180e ||
         within(0x200b, 0x200f) ||  // zero width, direction marks
         within(0x2028, 0x202e) ||  // line and paragraph separators, embeddings, overrides
         within(0x2060, 0x206f) ||  // invisible operators, isolates
         value == 0xfeff || within(0xfff9, 0xfffb) || within(0xe0000, 0xe007f);
}

void append_json(std::string& out, std::string_view text, std::size_t bytes_max) {
  append_escaped(out, text, bytes_max, append_json_character);
}

void append_printable(std::string& out, std::string_view text, std::size_t bytes_max) {
  append_escaped(out, text, bytes_max, append_printable_character);
}

}  // namespace weir
