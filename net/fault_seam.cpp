// Faults are drawn, not timed: which message is hit depends on the seed and on how many came before
// it, never on when it came.
#include "net/fault_seam.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace weir::net {

namespace {

constexpr std::int64_t kOvertakeNsMax = 50'000'000;
constexpr std::int64_t kDelayUsMax = 60'000'000;

using Us = std::chrono::microseconds;

bool parse_number(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_delay(std::string_view text, Us& delay) {
  double scale = 0;
  for (const auto& [unit, us] :
       std::array<std::pair<std::string_view, double>, 3>{{{"us", 1}, {"ms", 1e3}, {"s", 1e6}}}) {
    if (!text.ends_with(unit)) continue;
    scale = us;
    text.remove_suffix(unit.size());
    break;
  }
  double value = 0;
  if (scale == 0 || !parse_number(text, value) || !(value >= 0)) return false;
  if (value * scale > static_cast<double>(kDelayUsMax)) return false;
  delay = Us{static_cast<Us::rep>(value * scale)};
  return true;
}

bool parse_delays(std::string_view text, FaultRates& rates) {
  const std::size_t dots = text.find("..");
  const std::string_view least = text.substr(0, dots);
  const std::string_view most = dots == std::string_view::npos ? least : text.substr(dots + 2);
  return parse_delay(least, rates.delay_min) && parse_delay(most, rates.delay_max) &&
         rates.delay_min <= rates.delay_max;
}

bool parse_fault(std::string_view name, std::string_view value, FaultRates& rates) {
  if (name == "delay") return parse_delays(value, rates);
  double* share = name == "drop"      ? &rates.drop
                  : name == "double"  ? &rates.twice
                  : name == "reorder" ? &rates.reorder
                  : name == "cut"     ? &rates.cut
                                      : nullptr;
  return share != nullptr && parse_number(value, *share) && *share >= 0 && *share <= 1;
}

bool parse_item(std::string_view item, FaultOptions& options) {
  const std::size_t equals = item.find('=');
  if (equals == std::string_view::npos) return false;
  std::string_view name = item.substr(0, equals);
  const std::string_view value = item.substr(equals + 1);
  if (name == "seed") {
    const auto [end, error] =
        std::from_chars(value.data(), value.data() + value.size(), options.seed);
    return error == std::errc{} && end == value.data() + value.size();
  }
  const bool in_alone = name.starts_with("in.");
  const bool out_alone = name.starts_with("out.");
  if (in_alone || out_alone) name.remove_prefix(in_alone ? 3 : 4);
  return (out_alone || parse_fault(name, value, options.in)) &&
         (in_alone || parse_fault(name, value, options.out));
}

}  // namespace

bool FaultRates::any() const noexcept {
  return delay_max.count() > 0 || drop > 0 || twice > 0 || reorder > 0 || cut > 0;
}

Result<FaultOptions> parse_faults(std::string_view text) {
  FaultOptions options;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    if (!parse_item(item, options))
      return Error{Failure::invalid,
                   "fault '" + std::string(item) +
                       "' is none of delay=5ms..20ms, drop=, double=, reorder=, cut= with a chance "
                       "from 0 to 1, or seed=; in. or out. may stand before it"};
  }
  return options;
}

const FaultOptions& faults_from_environment() {
#ifdef WEIR_FAILPOINTS
  static const FaultOptions options = [] {
    const char* text = ::secure_getenv("WEIR_NET_FAULTS");
    if (text == nullptr) return FaultOptions{};
    const auto parsed = parse_faults(text);
    if (!parsed) {
      std::fprintf(stderr, "WEIR_NET_FAULTS: %s\n", parsed.error().text.c_str());
      std::abort();
    }
    return *parsed;
  }();
#else
  static const FaultOptions options;
#endif
  return options;
}

std::uint64_t FaultPlan::draw() noexcept {  // splitmix64
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

bool FaultPlan::chance(double share) noexcept {
  return static_cast<double>(draw() >> 11) * 0x1p-53 < share;
}

FaultVerdict FaultPlan::next() noexcept {
  FaultVerdict verdict;
  verdict.cut = chance(rates_.cut);
  verdict.drop = chance(rates_.drop);
  verdict.twice = chance(rates_.twice);
  verdict.reorder = chance(rates_.reorder);
  const auto span_us = static_cast<std::uint64_t>((rates_.delay_max - rates_.delay_min).count());
  const auto extra_us = static_cast<std::int64_t>(draw() % (span_us + 1));
  verdict.delay_ns = (rates_.delay_min.count() + extra_us) * 1'000;
  return verdict;
}

void FaultSeam::push(std::string_view message, std::int64_t now_ns) {
  const FaultVerdict verdict = plan_.next();
  const std::int64_t due_ns = now_ns + verdict.delay_ns;
  if (verdict.cut) return place({}, due_ns, true);
  if (verdict.drop) return;
  if (verdict.reorder && !overtaken_) {
    overtaken_ = Held{std::string(message), due_ns + kOvertakeNsMax, false};
    return;
  }
  place(std::string(message), due_ns, false);
  if (verdict.twice) place(std::string(message), due_ns, false);
  if (auto overtaken = std::exchange(overtaken_, std::nullopt))
    place(std::move(overtaken->message), due_ns, false);
}

void FaultSeam::place(std::string message, std::int64_t due_ns, bool cut) {
  if (!held_.empty()) due_ns = std::max(due_ns, held_.back().due_ns);
  held_.push_back({std::move(message), due_ns, cut});
}

std::optional<std::string> FaultSeam::pop(std::int64_t now_ns) {
  if (!held_.empty() && held_.front().due_ns <= now_ns) {
    if (held_.front().cut) return std::nullopt;
    std::string message = std::move(held_.front().message);
    held_.pop_front();
    return message;
  }
  if (held_.empty() && overtaken_ && overtaken_->due_ns <= now_ns) {
    std::string message = std::move(overtaken_->message);
    overtaken_.reset();
    return message;
  }
  return std::nullopt;
}

std::optional<std::int64_t> FaultSeam::due_ns() const noexcept {
  if (!held_.empty()) return held_.front().due_ns;
  if (overtaken_) return overtaken_->due_ns;
  return std::nullopt;
}

bool FaultSeam::cut(std::int64_t now_ns) const noexcept {
  return !held_.empty() && held_.front().cut && held_.front().due_ns <= now_ns;
}

}  // namespace weir::net
