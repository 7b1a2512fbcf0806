// What a client reads to decide whether to shed: two words that the agent publishes, and the number
// of requests in flight on the host. The decision writes nothing that is shared.
//
// All-zero words shed nothing, since all-zero memory is a host on which nobody has decided yet.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace weir::adaptive {

// The classes of Google's SRE book, chapter 21; the most important one first.
enum class Criticality : std::uint8_t {
  critical_plus = 0,
  critical = 1,
  sheddable_plus = 2,
  sheddable = 3,
};
inline constexpr std::size_t kClasses = 4;

// A class that does not exist is the least important one: nobody gains by inventing it.
constexpr std::size_t class_index(Criticality criticality) noexcept {
  return std::min(static_cast<std::size_t>(criticality), kClasses - 1);
}

struct ShedWords {
  // 16 bits a class, the most important class lowest. 0: no limit; n + 1: refuses at n in flight.
  std::uint64_t limits = 0;
  // 16 bits a class: how many of 65,535 requests are refused whatever is in flight.
  std::uint64_t refusals = 0;

  friend bool operator==(const ShedWords&, const ShedWords&) = default;
};

inline constexpr std::uint32_t kShedLimitMax = 65'534;
inline constexpr std::uint32_t kShareWhole = 65'535;

constexpr std::uint32_t shed_field(std::uint64_t word, Criticality criticality) noexcept {
  return static_cast<std::uint32_t>(word >> (16 * class_index(criticality))) & 0xffffU;
}

// `draw` is any number that differs from request to request; spread() makes one out of a counter.
constexpr bool sheds(const ShedWords& words, Criticality criticality, std::uint64_t in_flight,
                     std::uint32_t draw) noexcept {
  const std::uint32_t limit = shed_field(words.limits, criticality);
  if (limit != 0 && in_flight + 1 >= limit) return true;
  const std::uint32_t refused = shed_field(words.refusals, criticality);
  return refused != 0 && draw % kShareWhole < refused;
}

// The golden ratio's sequence in 16 bits: any run of a private counter spreads evenly, so that a
// tenth means every tenth or so and no random numbers are needed.
constexpr std::uint32_t spread(std::uint64_t counter) noexcept {
  return static_cast<std::uint32_t>((counter * 0x9e3779b97f4a7c15ULL) >> 48);
}

constexpr std::uint64_t pack_classes(const std::array<std::uint32_t, kClasses>& fields) noexcept {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < kClasses; ++i)
    word |= static_cast<std::uint64_t>(std::min(fields[i], 0xffffU)) << (16 * i);
  return word;
}

// For when nobody measures any more: the same fixed bulkhead for every class; 0 is no limit.
constexpr ShedWords fixed_words(std::uint32_t limit) noexcept {
  if (limit == 0) return {};
  const std::uint32_t field = std::min(limit, kShedLimitMax) + 1;
  return {.limits = pack_classes({field, field, field, field}), .refusals = 0};
}

}  // namespace weir::adaptive
