// Names of things, for people, and keys that can be printed.
#include "lease/quota.h"

#include <array>

namespace weir::lease {
namespace {

template <class Enum, std::size_t Count>
std::string_view named(const std::array<std::string_view, Count>& names, Enum value) noexcept {
  const auto index = static_cast<std::size_t>(value);
  return index < Count ? names[index] : "?";
}

// The bytes that a character takes; 0: it is none, or does not print.
std::size_t character_bytes(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return first < 0x20 || first == 0x7f ? 0 : 1;
  const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (bytes == 0 || first > 0xf4 || text.size() < bytes) return 0;
  std::uint32_t point = first & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((at(i) & 0xc0U) != 0x80) return 0;
    point = point << 6 | (at(i) & 0x3fU);
  }
  constexpr std::array<std::uint32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
  if (point < kSmallest[bytes] || point > 0x10ffff) return 0;
  if (point >= 0xd800 && point <= 0xdfff) return 0;
  return point < 0xa0 ? 0 : bytes;  // the controls of Latin 1
}

std::string check_text(const char* what, std::string_view text, std::size_t bytes_max) {
  if (text.empty()) return std::string(what) + " is empty";
  if (text.size() > bytes_max)
    return std::string(what) + " has " + std::to_string(text.size()) + " bytes; " +
           std::to_string(bytes_max) + " are the most";
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t bytes = character_bytes(text.substr(i));
    if (bytes == 0)
      return std::string(what) + " has a control character or broken UTF-8 at byte " +
             std::to_string(i);
    i += bytes;
  }
  return {};
}

}  // namespace

std::string quota_key(std::string_view name, std::string_view key) {
  std::string joined;
  joined.reserve(name.size() + 1 + key.size());
  return joined.append(name).append(1, kQuotaKeySeparator).append(key);
}

std::pair<std::string_view, std::string_view> split_quota_key(std::string_view joined) noexcept {
  const std::size_t at = joined.find(kQuotaKeySeparator);
  if (at == std::string_view::npos) return {joined, {}};
  return {joined.substr(0, at), joined.substr(at + 1)};
}

std::string check_quota_key(std::string_view name, std::string_view key) {
  if (std::string why = check_text("the quota's name", name, kQuotaNameBytesMax); !why.empty())
    return why;
  return check_text("the key", key, kQuotaKeyBytesMax - kQuotaNameBytesMax - 1);
}

std::string_view to_text(QuotaAction action) noexcept {
  static constexpr std::array<std::string_view, 17> kNames{
      "consume",    "refund", "grant",  "return",    "lost",   "late_return",
      "write_back", "top_up", "reset",  "rollover",  "create", "configure",
      "suspend",    "resume", "delete", "forgotten", "restore"};
  return named(kNames, action);
}

std::string_view to_text(QuotaType type) noexcept {
  static constexpr std::array<std::string_view, 3> kNames{"count", "time", "hybrid"};
  return named(kNames, type);
}

std::string_view to_text(QuotaPeriod period) noexcept {
  static constexpr std::array<std::string_view, 4> kNames{"none", "day", "week", "month"};
  return named(kNames, period);
}

std::string_view to_text(QuotaState state) noexcept {
  static constexpr std::array<std::string_view, 3> kNames{"active", "suspended", "deleted"};
  return named(kNames, state);
}

std::string_view to_text(QuotaOutcome outcome) noexcept {
  static constexpr std::array<std::string_view, 11> kNames{
      "heard",   "granted",     "partial", "exhausted", "rate_limited", "suspended",
      "expired", "unknown_key", "busy",    "settled",   "bad"};
  return named(kNames, outcome);
}

Units held_in(const QuotaHolding& holding, std::uint64_t gen) noexcept {
  Units held = 0;
  for (const Chunk& chunk : holding.chunks)
    if (chunk.gen == gen && chunk.state == ChunkState::open) held += chunk.unspent();
  return held;
}

}  // namespace weir::lease
