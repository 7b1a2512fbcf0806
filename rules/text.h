// The words of a rules file for the values of rules.h, in both directions, and small text helpers.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "rules/cluster.h"
#include "rules/rules.h"

namespace weir {

inline constexpr std::array<std::string_view, 4> kAlgorithmNames{"token_bucket", "leaky_bucket",
                                                                 "fixed_window", "sliding_window"};
inline constexpr std::array<std::string_view, 5> kCalendarNames{"minute", "hour", "day", "week",
                                                                "month"};
inline constexpr std::array<std::string_view, 3> kStripeNames{"auto", "on", "off"};
inline constexpr std::array<std::string_view, 3> kFallbackNames{"local", "open", "closed"};
inline constexpr std::array<std::string_view, 2> kScopeNames{"host", "cluster"};
inline constexpr std::array<std::string_view, 2> kThresholdNames{"global", "per_host"};
inline constexpr std::array<std::string_view, 3> kTlsClientsNames{"none", "optional", "required"};
// In the order of LimitRule::reserve_permille.
inline constexpr std::array<std::string_view, shm::kClasses> kClassNames{
    "critical_plus", "critical", "sheddable_plus", "sheddable"};

std::string_view to_text(shm::Algorithm algorithm) noexcept;
std::string_view to_text(CalendarUnit unit) noexcept;
std::string_view to_text(StripeMode mode) noexcept;
std::string_view to_text(shm::Fallback mode) noexcept;
std::string_view to_text(LimitScope scope) noexcept;
std::string_view to_text(LimitThreshold threshold) noexcept;

std::optional<std::size_t> index_of(std::span<const std::string_view> names,
                                    std::string_view name) noexcept;

// 'text', cut to what fits in a message, with whatever could confuse a terminal replaced.
std::string quote(std::string_view text);
// 'word' as it stands, for words of ours.
std::string quote_word(std::string_view word);
// "a, b, c"
std::string join(std::span<const std::string_view> words);
std::string join(std::span<const std::string> words);

// Whether the bytes are UTF-8 without surrogates or overlong forms; the index of the first bad
// byte, or npos.
std::size_t first_invalid_utf8(std::string_view text) noexcept;
// C0, DEL or, in UTF-8, C1. A line feed counts.
bool has_control_character(std::string_view text) noexcept;
// How many characters the UTF-8 text has.
std::size_t characters_in(std::string_view text) noexcept;

// The word nearest to `word` if it is near enough to be what was meant; empty otherwise.
std::string_view did_you_mean(std::string_view word, std::span<const std::string_view> words);

}  // namespace weir
