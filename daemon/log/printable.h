// Text that somebody else chose, made fit for a line of a log or a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weir {

inline constexpr std::size_t kPrintableBytesMax = 4096;

// Control characters, escape sequences, bytes that are not UTF-8 (\x1b, \xff) and characters that
// change the direction or the place of others (\u{202e}) are shown as escapes; newlines and tabs
// as \n and \t. Backslashes stay, so a printable text stays as it is. Cut at `bytes_max` bytes of
// the result, with "..." at the end.
std::string printable(std::string_view text, std::size_t bytes_max = kPrintableBytesMax);

}  // namespace weir
