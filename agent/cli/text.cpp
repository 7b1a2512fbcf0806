#include "agent/cli/text.h"

#include <wchar.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace weir::cli {

namespace {

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;  // 0: not UTF-8
};

// The first code point of a text that is not empty. Overlong forms, surrogates and values above
// U+10FFFF are not UTF-8.
CodePoint take_code_point(std::string_view text) noexcept {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return {};
  constexpr std::array<unsigned, 5> kLeadBits{0, 0, 0x1f, 0x0f, 0x07};
  constexpr std::array<char32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  char32_t value = lead & kLeadBits[length];
  for (std::size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0) != 0x80) return {};
    value = (value << 6) | (byte & 0x3fU);
  }
  if (value < kLeast[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, length};
}

// Characters without a shape of their own: they hide, reorder or break up the text around them.
bool is_invisible(char32_t c) noexcept {
  return c == 0xad || c == 0x61c || c == 0x180e || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
         (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff) ||
         (c >= 0xfe00 && c <= 0xfe0f);
}

int width_of(char32_t c) noexcept {
  return c < 0x80 ? (c < 0x20 || c == 0x7f ? -1 : 1) : ::wcwidth(static_cast<wchar_t>(c));
}

std::string hex(const char* format, unsigned value) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string escape_text(std::string_view text, Charset charset, bool keep_lines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = take_code_point(text);
    const std::size_t bytes = std::max<std::size_t>(point.bytes, 1);
    const char32_t c = point.value;
    if (point.bytes == 0) {
      out += hex("\\x%02x", static_cast<unsigned char>(text[0]));
    } else if (keep_lines && (c == '\n' || c == '\t')) {
      out.push_back(static_cast<char>(c));
    } else if (c == '\n' || c == '\t' || c == '\r') {
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r";
    } else if (c < 0x80) {
      if (width_of(c) < 0)
        out += hex("\\x%02x", static_cast<unsigned>(c));
      else
        out.push_back(static_cast<char>(c));
    } else if (!charset.utf8 || is_invisible(c) || width_of(c) < 0) {
      out += hex("\\u{%x}", static_cast<unsigned>(c));
    } else {
      out += text.substr(0, bytes);
    }
    text.remove_prefix(bytes);
  }
  return out;
}

// Three digits that count, without trailing zeros behind the point.
std::string three_digits(double value) {
  std::array<char, 32> text{};
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  std::string digits = text.data();
  if (digits.find('.') != std::string::npos) {
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.pop_back();
  }
  return digits;
}

std::string with_prefix(double value) {
  constexpr std::array<const char*, 7> kPrefixes{"", "k", "M", "G", "T", "P", "E"};
  std::size_t prefix = 0;
  while (value >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  return three_digits(value) + kPrefixes[prefix];
}

}  // namespace

std::string escape(std::string_view untrusted, Charset charset) {
  return escape_text(untrusted, charset, false);
}

std::string escape_lines(std::string_view untrusted, Charset charset) {
  return escape_text(untrusted, charset, true);
}

std::size_t columns(std::string_view escaped) noexcept {
  std::size_t sum = 0;
  while (!escaped.empty()) {
    const CodePoint point = take_code_point(escaped);
    sum += static_cast<std::size_t>(std::max(point.bytes == 0 ? 1 : width_of(point.value), 0));
    escaped.remove_prefix(std::max<std::size_t>(point.bytes, 1));
  }
  return sum;
}

std::string shorten(std::string_view escaped, std::size_t columns_max, Charset charset) {
  if (columns(escaped) <= columns_max) return std::string{escaped};
  const std::string_view mark = charset.utf8 ? "…" : "~";
  if (columns_max == 0) return {};
  std::string out;
  std::size_t used = 1;  // the mark
  while (!escaped.empty()) {
    const CodePoint point = take_code_point(escaped);
    const std::size_t bytes = std::max<std::size_t>(point.bytes, 1);
    const int width = std::max(point.bytes == 0 ? 1 : width_of(point.value), 0);
    if (used + static_cast<std::size_t>(width) > columns_max) break;
    used += static_cast<std::size_t>(width);
    out += escaped.substr(0, bytes);
    escaped.remove_prefix(bytes);
  }
  return out.append(mark);
}

std::string fit(std::string_view escaped, std::size_t width, Charset charset) {
  std::string text = shorten(escaped, width, charset);
  return text.append(width - std::min(width, columns(text)), ' ');
}

std::string fit_right(std::string_view escaped, std::size_t width, Charset charset) {
  const std::string text = shorten(escaped, width, charset);
  return std::string(width - std::min(width, columns(text)), ' ') + text;
}

std::string format_count(std::uint64_t count) {
  return count < 10'000 ? std::to_string(count) : with_prefix(static_cast<double>(count));
}

std::string format_exact(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string format_per_s(double per_s) {
  // The smoothed rate of something that stopped never quite reaches zero.
  if (!std::isfinite(per_s) || per_s < 0.005) return "0";
  return with_prefix(per_s);
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{" KiB", " MiB", " GiB", " TiB", " PiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return three_digits(value) + kUnits[unit];
}

std::string format_duration(std::uint64_t ns) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  const double value = static_cast<double>(ns);
  if (ns < 1000) return std::to_string(ns) + " ns";
  if (value < 999.5e3) return three_digits(value / 1e3) + (" us");
  if (value < 999.5e6) return three_digits(value / 1e6) + " ms";
  const std::uint64_t seconds = ns / kSecond;
  if (seconds < 60) return three_digits(std::floor(value / 1e7) / 100) + " s";
  struct Pair {
    std::uint64_t large_s;
    const char* large;
    std::uint64_t small_s;
    const char* small;
  };
  constexpr std::array<Pair, 3> kPairs{
      {{86400, "d", 3600, "h"}, {3600, "h", 60, "m"}, {60, "m", 1, "s"}}};
  for (const Pair& pair : kPairs) {
    if (seconds < pair.large_s) continue;
    std::string text = std::to_string(seconds / pair.large_s) + pair.large;
    const std::uint64_t rest = seconds % pair.large_s / pair.small_s;
    if (rest != 0) text += " " + std::to_string(rest) + pair.small;
    return text;
  }
  return {};
}

std::string format_ms(std::uint64_t ms) {
  constexpr std::uint64_t kMsMax = UINT64_MAX / 1'000'000;
  return format_duration(std::min(ms, kMsMax) * 1'000'000);
}

std::string format_ago(std::uint64_t ms) { return format_ms(ms) + " ago"; }

std::string format_permille(std::uint32_t permille) {
  return std::to_string(permille / 10) + "." + std::to_string(permille % 10) + " %";
}

std::string plural(std::uint64_t count, std::string_view singular, std::string_view plural_form) {
  return format_count(count) + " " + std::string{count == 1 ? singular : plural_form};
}

}  // namespace weir::cli
