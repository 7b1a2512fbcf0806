// The shared bytes of quotas: keys in use on this host, and the units that are left of each.
//
// They lie behind the toolkit's areas in the same two segments, by the same rules as layout.h.
// Since 1.3. A key that is in use has a slot: its name in the rules segment, where the agent alone
// writes, its units in the counters segment. Any process finds the slot by a hash of the key and
// takes units with one compare-and-swap.
//
// Slots are used again for other keys. What keeps a caller from the units of the next key is the
// generation: it is in the hot word that the caller read before it compared the key, and in each
// word of the counter, beside the value, so that one atomic step checks both. The agent empties
// the words under a new generation before it writes another key into the slot.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string_view>

#include "shm/layout.h"
#include "shm/result.h"
#include "shm/toolkit.h"
#include "shm/wide.h"

namespace weir::shm {

inline constexpr std::uint32_t kQuotaKeysMax = 65'536;
inline constexpr std::uint32_t kQuotaEvents = 256;  // a power of two
inline constexpr std::uint32_t kQuotaProbes = 16;   // cells of the index that are looked at
inline constexpr std::size_t kQuotaNameMax = 128;   // bytes
inline constexpr std::size_t kQuotaKeyMax = 384;    // bytes

// What the server last said of a key.
enum class QuotaService : std::uint32_t {
  none = 0,
  ok = 1,
  exhausted = 2,
  rate_limited = 3,
  suspended = 4,
  expired = 5,
  unknown_key = 6,
  unreachable = 7,
};

// ---------------------------------------------------------------- rules segment

// One of the domain, before the index.
struct alignas(kLineBytes) QuotaBoard {
  A32 serving;     // 1: a server answers for quotas; 0: what is here is all there is
  A32 usage_full;  // 1: reports of outcomes should wait
  A64 usage_rows;  // reports that wait for the server
  A64 usage_rows_max;
  A64 keys;  // slots in use
  std::uint8_t reserved0[kLineBytes - 32];
};
static_assert(sizeof(QuotaBoard) == 128);
static_assert(offsetof(QuotaBoard, keys) == 24);

struct alignas(kLineBytes) QuotaSlot {
  A64 hot;         // hot_word(generation, kQuotaActive); 0 in the upper half: never used
  A64 hash;        // quota_hash() of what follows
  A32 name_bytes;  // of the quota, and of its key
  A32 key_bytes;
  A64 name[kQuotaNameMax / 8];  // padded with zeros
  A64 key[kQuotaKeyMax / 8];
  // What the server said last, for whoever finds no units.
  A32 service;  // QuotaService
  A32 reserved1;
  S64 until_mono_ns;  // asking again before is of no use
  A64 answers;        // that came so far
  A64 remaining;      // at the server
  std::uint8_t reserved0[640 - 568];
};
static_assert(sizeof(QuotaSlot) == 640);
static_assert(offsetof(QuotaSlot, name) == 24);
static_assert(offsetof(QuotaSlot, service) == 536);
static_assert(offsetof(QuotaSlot, remaining) == 560);

inline constexpr std::uint32_t kQuotaActive = 1;

// ---------------------------------------------------------------- counters segment

// All but the last two are quota_word(generation, value).
struct alignas(kLineBytes) QuotaCounter {
  A64 units;  // that may be taken
  std::uint8_t reserved0[kLineBytes - 8];

  A64 refunded;       // given back since the slot has this key
  A64 wanted;         // the most that a call wanted and did not get; the agent takes it away
  A64 attributed;     // taken by calls that will report their outcome
  A64 refused_total;  // calls that were refused, whatever the key
  A64 dropped_total;  // reports that found no room
  std::uint8_t reserved1[kLineBytes - 40];
};
static_assert(sizeof(QuotaCounter) == 256);
static_assert(offsetof(QuotaCounter, refunded) == 128);
static_assert(offsetof(QuotaCounter, dropped_total) == 160);

inline constexpr int kQuotaUnitBits = 50;
inline constexpr std::uint64_t kQuotaUnitMask = (1ULL << kQuotaUnitBits) - 1;

// The upper 14 bits of a slot's generation would do for a caller that sleeps through 16,383 other
// keys in its slot, and slots are used again in turn.
constexpr std::uint64_t quota_word(std::uint32_t generation, std::uint64_t value) noexcept {
  return std::uint64_t{generation} << kQuotaUnitBits | (value & kQuotaUnitMask);
}
constexpr std::uint64_t quota_value(std::uint64_t word) noexcept { return word & kQuotaUnitMask; }
constexpr bool quota_is_of(std::uint64_t word, std::uint32_t generation) noexcept {
  return (word ^ std::uint64_t{generation} << kQuotaUnitBits) >> kQuotaUnitBits == 0;
}

enum class QuotaTake : std::uint32_t { ok, dry, moved };

inline constexpr int kQuotaAttemptsMax = 64;

// Takes n units, or nothing. `level` is what was there.
template <int attempts = kQuotaAttemptsMax, class Word>
[[gnu::always_inline]] inline QuotaTake quota_take(Word& word, std::uint32_t generation,
                                                   std::uint64_t n, std::uint64_t& level) noexcept {
  // relaxed: the word itself is all that is decided here.
  std::uint64_t before = word.load(std::memory_order_relaxed);
  for (int i = 0; i < attempts; ++i) {
    level = quota_value(before);
    if (!quota_is_of(before, generation)) [[unlikely]]
      return QuotaTake::moved;
    if (level < n) [[unlikely]]
      return QuotaTake::dry;
    if (word.compare_exchange_weak(before, before - n, std::memory_order_relaxed)) [[likely]]
      return QuotaTake::ok;
  }
  return QuotaTake::dry;  // lost to others each time
}

// As much as there is, up to n.
template <class Word>
std::uint64_t quota_take_some(Word& word, std::uint32_t generation, std::uint64_t most) noexcept {
  std::uint64_t before = word.load(std::memory_order_relaxed);
  for (int i = 0; i < kQuotaAttemptsMax; ++i) {
    const std::uint64_t n = std::min(most, quota_value(before));
    if (!quota_is_of(before, generation) || n == 0) return 0;
    if (word.compare_exchange_weak(before, before - n, std::memory_order_relaxed)) return n;
  }
  return 0;
}

// Steps of what must not fail for others that are only busy. Beyond it somebody writes the word
// all the time, which no process of ours does.
inline constexpr int kQuotaStepsMax = 4096;

// False when the slot has another key by now, or after kQuotaStepsMax. A sum beyond its field stays
// at its end.
template <class Word>
bool quota_add(Word& word, std::uint32_t generation, std::uint64_t n) noexcept {
  std::uint64_t before = word.load(std::memory_order_relaxed);
  for (int i = 0; i < kQuotaStepsMax && quota_is_of(before, generation); ++i) {
    const std::uint64_t room = kQuotaUnitMask - quota_value(before);
    if (word.compare_exchange_weak(before, before + std::min(n, room), std::memory_order_relaxed))
      return true;
  }
  return false;
}

// Raises it to n. True when nothing was there before, so that somebody has to be told.
template <class Word>
bool quota_want(Word& word, std::uint32_t generation, std::uint64_t n) noexcept {
  std::uint64_t before = word.load(std::memory_order_relaxed);
  for (int i = 0; i < kQuotaStepsMax; ++i) {
    if (!quota_is_of(before, generation) || quota_value(before) >= n) return false;
    if (word.compare_exchange_weak(before, quota_word(generation, n), std::memory_order_relaxed))
      return quota_value(before) == 0;
  }
  return false;
}

// What the agent finds. Units that it did not expect are forged, and are cut off; so is a word of
// another generation, which has lost its units. Returns what is left.
template <class Word>
std::uint64_t quota_cut(Word& word, std::uint32_t generation, std::uint64_t expected,
                        std::uint64_t& forged_total) noexcept {
  std::uint64_t now = word.load(std::memory_order_relaxed);
  const auto forged = [&] { return !quota_is_of(now, generation) || quota_value(now) > expected; };
  for (int i = 0; i < kQuotaAttemptsMax && forged(); ++i) {
    const std::uint64_t right = quota_word(generation, quota_is_of(now, generation) ? expected : 0);
    ++forged_total;
    if (word.compare_exchange_strong(now, right, std::memory_order_relaxed)) now = right;
  }
  if (forged()) {  // somebody writes it all the time: its units are not worth a stand still
    now = quota_word(generation, 0);
    word.store(now, std::memory_order_relaxed);
  }
  return quota_value(now);
}

// ---------------------------------------------------------------- finding a key

// Words of a text as it lies in a slot: eight bytes each, the last one padded with zeros.
inline std::uint64_t quota_text_word(const char* text, std::size_t bytes, std::size_t at) noexcept {
  std::uint64_t word = 0;
  const std::size_t left = bytes - at * 8;
  if (left >= 8) {
    std::memcpy(&word, text + at * 8, 8);
  } else if (bytes >= 8) {
    std::memcpy(&word, text + bytes - 8, 8);
    word >>= 8 * (8 - left);
  } else if (left >= 4) {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, text, 4);
    std::memcpy(&high, text + left - 4, 4);
    word = std::uint64_t{high} << (8 * (left - 4)) | low;
  } else {
    const auto* u = reinterpret_cast<const unsigned char*>(text);
    for (std::size_t i = 0; i < left; ++i)
      word |= std::uint64_t{u[i]} << (8 * i);
  }
  return word;
}
static_assert(std::endian::native == std::endian::little);

// A key as calls need it: most have no more than two words, which are cut once.
class QuotaText {
 public:
  QuotaText(const char* text, std::size_t bytes) noexcept
      : first(quota_text_word(text, bytes, 0)),
        second(bytes > 8 ? quota_text_word(text, bytes, 1) : 0),
        text_(text),
        bytes_(bytes) {}

  std::size_t bytes() const noexcept { return bytes_; }
  std::uint64_t word(std::size_t at) const noexcept {
    return at * 8 < bytes_ ? quota_text_word(text_, bytes_, at) : 0;
  }

  const std::uint64_t first, second;

 private:
  const char* text_;
  std::size_t bytes_;
};

// One multiplication takes in two words.
constexpr std::uint64_t quota_mix(std::uint64_t a, std::uint64_t b) noexcept {
  return fold_product(a, b);
}
inline constexpr std::uint64_t kQuotaMixFirst = 0x9e3779b97f4a7c15ULL;
inline constexpr std::uint64_t kQuotaMixSecond = 0xd6e8feb86659fd93ULL;

// `most`: the text is no longer.
template <std::size_t most = kQuotaKeyMax>
std::uint64_t quota_hash(std::uint64_t seed, const QuotaText& text) noexcept {
  std::uint64_t hash =
      quota_mix(text.first ^ seed ^ kQuotaMixFirst, text.second ^ kQuotaMixSecond ^ text.bytes());
  for (std::size_t i = 2; i * 8 < most && i * 8 < text.bytes(); i += 2)
    hash = quota_mix(text.word(i) ^ hash, text.word(i + 1) ^ kQuotaMixSecond);
  return hash;
}

// A cell of the index: the upper half of the hash, and the slot and 1. 0 ends a search.
inline constexpr std::uint64_t kQuotaCellGone = UINT32_MAX;  // another key was here
constexpr std::uint64_t quota_cell(std::uint64_t hash, std::uint32_t slot) noexcept {
  return (hash & ~std::uint64_t{UINT32_MAX}) | (slot + 1);
}

// Where the areas lie. As with the toolkit, both sides compute it from counts that they checked.
struct QuotaGeometry {
  std::uint32_t keys_max = 0;      // 0: the segments have no quotas
  std::size_t rules_begin = 0;     // ToolkitGeometry::rules_bytes()
  std::size_t counters_begin = 0;  // ToolkitGeometry::counters_bytes()

  constexpr std::uint32_t cells() const noexcept { return std::bit_ceil(keys_max) * 2; }
  constexpr std::size_t event_offset() const noexcept { return rules_begin + sizeof(QuotaBoard); }
  constexpr std::size_t cell_offset() const noexcept {
    return event_offset() + sizeof(A32) * kQuotaEvents;
  }
  constexpr std::size_t slot_offset() const noexcept {
    return RulesGeometry::round_up(cell_offset() + sizeof(A64) * cells());
  }
  constexpr std::size_t rules_bytes() const noexcept {
    if (keys_max == 0) return rules_begin;
    return ToolkitGeometry::round_page(slot_offset() + sizeof(QuotaSlot) * keys_max);
  }
  constexpr std::size_t counters_bytes() const noexcept {
    return ToolkitGeometry::round_page(counters_begin + sizeof(QuotaCounter) * keys_max);
  }
};

// A quota's name as calls need it.
class QuotaName {
 public:
  std::uint64_t hash = 0;
  std::uint32_t bytes = 0;
  std::uint64_t words[kQuotaNameMax / 8] = {};

  QuotaName() noexcept = default;
  explicit QuotaName(std::string_view name) noexcept
      : hash(quota_hash(0, QuotaText(name.data(), name.size()))),
        bytes(static_cast<std::uint32_t>(name.size())) {
    for (std::size_t i = 0; i * 8 < bytes; ++i)
      words[i] = quota_text_word(name.data(), bytes, i);
  }
};

struct QuotaFound {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

class QuotaView {
 public:
  QuotaView() noexcept = default;
  QuotaView(const std::byte* rules, std::byte* counters, const QuotaGeometry& geometry,
            std::uint64_t seed) noexcept
      : cells_(reinterpret_cast<const A64*>(rules + geometry.cell_offset())),
        slots_(reinterpret_cast<const QuotaSlot*>(rules + geometry.slot_offset())),
        counters_(reinterpret_cast<QuotaCounter*>(counters + geometry.counters_begin)),
        mask_(geometry.cells() - 1),
        keys_max_(geometry.keys_max),
        seed_(seed),
        rules_(rules),
        geometry_(geometry) {}

  explicit operator bool() const noexcept { return keys_max_ != 0; }
  std::uint32_t keys_max() const noexcept { return keys_max_; }
  const QuotaGeometry& geometry() const noexcept { return geometry_; }
  const QuotaBoard& board() const noexcept {
    return *reinterpret_cast<const QuotaBoard*>(rules_ + geometry_.rules_begin);
  }
  // A shared futex that changes whenever something has come for a key with such a hash.
  const A32& event(std::uint64_t hash) const noexcept {
    return reinterpret_cast<const A32*>(rules_ +
                                        geometry_.event_offset())[hash & (kQuotaEvents - 1)];
  }
  const A64& cell(std::uint64_t at) const noexcept { return cells_[at & mask_]; }
  const QuotaSlot& slot(std::uint32_t index) const noexcept { return slots_[index]; }
  QuotaCounter& counter(std::uint32_t index) const noexcept { return counters_[index]; }

  template <std::size_t most = kQuotaKeyMax>
  std::uint64_t hash(const QuotaName& name, const QuotaText& key) const noexcept {
    return quota_hash<most>(name.hash ^ seed_, key);
  }
  // The slot of a key, and its generation when it had that key. `most`: neither the name nor the
  // key is longer.
  template <std::size_t most = kQuotaKeyMax>
  bool find(const QuotaName& name, const QuotaText& key, std::uint64_t hash,
            QuotaFound& found) const noexcept {
    for (std::uint32_t i = 0; i < kQuotaProbes; ++i) {
      // relaxed: the slot says for itself whose it is.
      const std::uint64_t cell = cells_[(hash + i) & mask_].load(std::memory_order_relaxed);
      if (cell == 0) return false;
      if ((cell ^ hash) >> 32 != 0) continue;
      found.slot = static_cast<std::uint32_t>(cell) - 1;
      if (holds<most>(found.slot, name, key, found.generation)) return true;
    }
    return false;
  }

  // Whether the slot is that of a key, as in find(), and its generation.
  template <std::size_t most = kQuotaKeyMax>
  bool holds(std::uint32_t index, const QuotaName& name, const QuotaText& key,
             std::uint32_t& generation) const noexcept {
    if (index >= keys_max_) return false;
    const QuotaSlot& s = slots_[index];
    // acquire: the key is at least as new as the generation. Should it be newer, then the words of
    // the counter have gone on to the next generation before.
    const std::uint64_t hot = s.hot.load(std::memory_order_acquire);
    generation = static_cast<std::uint32_t>(hot >> 32);
    constexpr auto relaxed = std::memory_order_relaxed;
    if ((hot & kQuotaActive) == 0 || s.key_bytes.load(relaxed) != key.bytes() ||
        s.name_bytes.load(relaxed) != name.bytes)
      return false;
    // Two words of each, shorter or not: what is behind a text are zeros.
    if (s.key[0].load(relaxed) != key.first || s.key[1].load(relaxed) != key.second ||
        s.name[0].load(relaxed) != name.words[0] || s.name[1].load(relaxed) != name.words[1])
      return false;
    for (std::size_t i = 2; i * 8 < most && i * 8 < key.bytes(); ++i)
      if (s.key[i].load(relaxed) != key.word(i)) return false;
    for (std::size_t i = 2; i * 8 < most && i * 8 < name.bytes; ++i)
      if (s.name[i].load(relaxed) != name.words[i]) return false;
    return true;
  }

 private:
  const A64* cells_ = nullptr;
  const QuotaSlot* slots_ = nullptr;
  QuotaCounter* counters_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint32_t keys_max_ = 0;
  std::uint64_t seed_ = 0;
  const std::byte* rules_ = nullptr;
  QuotaGeometry geometry_;
};

// Before format_rules / format_counters, as with the toolkit.
void format_quota_rules(std::byte* rules, const QuotaGeometry& geometry,
                        std::uint64_t seed) noexcept;
void format_quota_counters(std::byte* counters, const QuotaGeometry& geometry) noexcept;

// After validate_rules, validate_counters and toolkit_of: an empty view where either segment has
// none; an error where a count is out of bounds or an area ends beyond its segment.
Result<QuotaView> quota_of(std::span<const std::byte> rules, const RulesGeometry& rules_geometry,
                           std::span<std::byte> counters,
                           const CountersGeometry& counters_geometry) noexcept;

}  // namespace weir::shm
