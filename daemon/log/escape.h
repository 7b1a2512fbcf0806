// What both forms of escaping share: one character of a text that may not be UTF-8 at all.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weir {

struct Character {
  char32_t value = 0;     // the byte itself when it is not valid
  std::size_t bytes = 1;  // how many bytes of the text it takes, at least one
  bool valid = true;      // UTF-8 in its shortest form, no surrogate
};

// The first character of a text that is not empty.
Character first_character(std::string_view text) noexcept;

// Control characters, and those that hide, join or turn around what stands next to them.
bool drives_a_terminal(char32_t value) noexcept;

// Appends the inside of a JSON string: valid JSON, valid UTF-8 and free of control characters,
// whatever the text is. At most `bytes_max` bytes; the cut is marked by "...".
void append_json(std::string& out, std::string_view text, std::size_t bytes_max);

// Appends the text as printable() shows it.
void append_printable(std::string& out, std::string_view text, std::size_t bytes_max);

}  // namespace weir
