// Text for people: what others wrote is escaped, what we measured is rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::cli {

// What the terminal can show. Without UTF-8 everything beyond ASCII is escaped.
struct Charset {
  bool utf8 = false;
};

// Others chose this text (limit names, labels, commands, file names), so it must not be able to
// drive the terminal: control characters, invisible and direction-changing characters and bytes
// that are not UTF-8 become \n, \x1b, \u{202e}.
std::string escape(std::string_view untrusted, Charset charset);
// The same, but line ends and tabs stay: for messages of several lines.
std::string escape_lines(std::string_view untrusted, Charset charset);

// How many columns an escaped text takes.
std::size_t columns(std::string_view escaped) noexcept;
// At most `columns_max` columns of an escaped text; the cut is marked by an ellipsis.
std::string shorten(std::string_view escaped, std::size_t columns_max, Charset charset);
// Exactly `width` columns: shortened, or filled with spaces at the right (or left).
std::string fit(std::string_view escaped, std::size_t width, Charset charset);
std::string fit_right(std::string_view escaped, std::size_t width, Charset charset);

std::string format_count(std::uint64_t count);        // 950, 12.3k, 4.56M
std::string format_exact(std::uint64_t count);        // 12,345,678
std::string format_per_s(double per_s);               // 0, 0.25, 12.3, 4.56k
std::string format_bytes(std::uint64_t bytes);        // 512 B, 1.5 MiB
std::string format_duration(std::uint64_t ns);        // 850 ns, 1.25 ms, 3.2 s, 2m 5s, 3h 4m, 2d 3h
std::string format_ms(std::uint64_t ms);              // the same, of milliseconds
std::string format_ago(std::uint64_t ms);             // 3.2 s ago
std::string format_permille(std::uint32_t permille);  // 12.5 %
std::string plural(std::uint64_t count, std::string_view singular, std::string_view plural_form);

}  // namespace weir::cli
