#include "adaptive/deadline.h"

#include <array>
#include <charconv>

namespace weir::adaptive {
namespace {

constexpr std::size_t kDigitsMax = 8;
constexpr std::int64_t kDigitsEnd = 100'000'000;

struct Unit {
  char letter;
  TimeNs ns;
};
constexpr std::array<Unit, 6> kUnits{
    {{'n', 1}, {'u', kUs}, {'m', kMs}, {'S', kSecond}, {'M', 60 * kSecond}, {'H', 3600 * kSecond}}};

}  // namespace

TimeNs parse_grpc_timeout_ns(std::string_view text) noexcept {
  if (text.size() < 2 || text.size() > kDigitsMax + 1) return -1;
  const std::string_view digits = text.substr(0, text.size() - 1);
  std::uint32_t count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  if (error != std::errc{} || end != digits.data() + digits.size()) return -1;
  for (const Unit& unit : kUnits)
    if (unit.letter == text.back())
      return count > kNever / unit.ns ? kNever : static_cast<TimeNs>(count) * unit.ns;
  return -1;
}

std::string grpc_timeout_text(TimeNs timeout_ns) {
  timeout_ns = std::max<TimeNs>(0, timeout_ns);
  for (const Unit& unit : kUnits)
    if (timeout_ns / unit.ns < kDigitsEnd)
      return std::to_string(timeout_ns / unit.ns) + unit.letter;
  return std::to_string(kDigitsEnd - 1) + 'H';
}

}  // namespace weir::adaptive
