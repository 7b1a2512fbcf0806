#include "rules/text.h"

namespace weir {
namespace {

constexpr std::size_t kQuotedBytesMax = 60;

template <std::size_t N>
std::string_view name_at(const std::array<std::string_view, N>& names, std::size_t index) noexcept {
  return index < N ? names[index] : std::string_view{"none"};
}

// The length of the valid UTF-8 sequence at the front, or 0.
std::size_t sequence_bytes(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  if (lead == 0xe0 && second < 0xa0) return 0;  // overlong
  if (lead == 0xed && second > 0x9f) return 0;  // surrogate
  if (lead == 0xf0 && second < 0x90) return 0;  // overlong
  if (lead == 0xf4 && second > 0x8f) return 0;  // above U+10FFFF
  return length;
}

template <class Word>
std::string join_words(std::span<const Word> words) {
  std::string text;
  for (const Word& word : words) {
    if (!text.empty()) text += ", ";
    text += word;
  }
  return text;
}

}  // namespace

std::string_view to_text(shm::Algorithm algorithm) noexcept {
  return name_at(kAlgorithmNames, static_cast<std::size_t>(algorithm) - 1);
}
std::string_view to_text(CalendarUnit unit) noexcept {
  return name_at(kCalendarNames, static_cast<std::size_t>(unit) - 1);
}
std::string_view to_text(StripeMode mode) noexcept {
  return name_at(kStripeNames, static_cast<std::size_t>(mode));
}
std::string_view to_text(shm::Fallback mode) noexcept {
  return name_at(kFallbackNames, static_cast<std::size_t>(mode));
}

std::string_view to_text(LimitScope scope) noexcept {
  return name_at(kScopeNames, static_cast<std::size_t>(scope));
}
std::string_view to_text(LimitThreshold threshold) noexcept {
  return name_at(kThresholdNames, static_cast<std::size_t>(threshold));
}

std::optional<std::size_t> index_of(std::span<const std::string_view> names,
                                    std::string_view name) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return i;
  }
  return std::nullopt;
}

std::string quote(std::string_view text) {
  std::string quoted = "'";
  std::string_view rest = text;
  while (!rest.empty() && quoted.size() < kQuotedBytesMax) {
    const std::size_t length = sequence_bytes(rest);
    const std::string_view character = rest.substr(0, length == 0 ? 1 : length);
    const bool strange = length == 0 || has_control_character(character);
    quoted += strange ? std::string_view{"?"} : character;
    rest.remove_prefix(character.size());
  }
  if (!rest.empty()) quoted += "...";
  return quoted + "'";
}

std::string quote_word(std::string_view word) {
  std::string quoted = "'";
  quoted += word;
  quoted += "'";
  return quoted;
}

std::string join(std::span<const std::string_view> words) { return join_words(words); }
std::string join(std::span<const std::string> words) { return join_words(words); }

std::size_t first_invalid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = sequence_bytes(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return text.npos;
}

bool has_control_character(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) return true;
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      return true;
    }
  }
  return false;
}

std::size_t characters_in(std::string_view text) noexcept {
  std::size_t count = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0U) != 0x80) ++count;
  }
  return count;
}

}  // namespace weir
