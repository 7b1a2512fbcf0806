// Deadlines: a moment of the monotonic clock by which an answer must be there, and what follows for
// waiting and calling. A value, with no clock of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "adaptive/units.h"

namespace weir::adaptive {

struct DeadlineOptions {
  TimeNs default_ns = 5 * kSecond;  // for a caller that says nothing: no wait is without an end
  TimeNs max_ns = 60 * kSecond;     // for a caller that says a day
};

class Deadline {
 public:
  constexpr Deadline() noexcept = default;
  constexpr explicit Deadline(TimeNs at_mono_ns) noexcept : at_mono_ns_(bounded(at_mono_ns)) {}

  // `timeout_ns` is what the caller asked for: 0 means nothing was said, negative means that the
  // time was over before the request came.
  static constexpr Deadline after(TimeNs now_mono_ns, TimeNs timeout_ns,
                                  const DeadlineOptions& options = {}) noexcept {
    const TimeNs longest_ns = std::clamp<TimeNs>(options.max_ns, kMs, kNever / 2);
    if (timeout_ns == 0) timeout_ns = std::max<TimeNs>(options.default_ns, kMs);
    timeout_ns = std::clamp<TimeNs>(timeout_ns, 0, longest_ns);
    return Deadline(std::clamp(now_mono_ns, -kNever / 2, kNever / 2) + timeout_ns);
  }

  constexpr TimeNs at_mono_ns() const noexcept { return at_mono_ns_; }
  constexpr bool passed(TimeNs now_mono_ns) const noexcept {
    return since(at_mono_ns_, now_mono_ns) >= 0;
  }
  constexpr TimeNs remaining_ns(TimeNs now_mono_ns) const noexcept {
    return std::max<TimeNs>(0, since(now_mono_ns, at_mono_ns_));
  }
  constexpr Deadline earlier(Deadline other) const noexcept {
    return Deadline(std::min(at_mono_ns_, other.at_mono_ns_));
  }

  // Can work that usually takes `expected_ns` still be of use? Refusing it now costs nothing;
  // starting it costs the work.
  constexpr bool can_finish(TimeNs now_mono_ns, TimeNs expected_ns) const noexcept {
    const TimeNs left_ns = remaining_ns(now_mono_ns);
    return left_ns > 0 && std::max<TimeNs>(expected_ns, 0) <= left_ns;
  }
  constexpr bool can_wait(TimeNs now_mono_ns, TimeNs wait_ns, TimeNs expected_ns) const noexcept {
    const TimeNs both_ns =
        std::clamp<TimeNs>(wait_ns, 0, kNever / 2) + std::clamp<TimeNs>(expected_ns, 0, kNever / 2);
    return can_finish(now_mono_ns, both_ns);
  }

  // What a call to the next layer may take: not more than its own timeout (0: none of its own), and
  // so that an answer still leaves `margin_ns` to work with. 0: do not call.
  constexpr TimeNs call_timeout_ns(TimeNs now_mono_ns, TimeNs own_timeout_ns,
                                   TimeNs margin_ns) const noexcept {
    const TimeNs left_ns = remaining_ns(now_mono_ns) - std::clamp<TimeNs>(margin_ns, 0, kNever / 2);
    const TimeNs own_ns = own_timeout_ns > 0 ? own_timeout_ns : left_ns;
    return std::max<TimeNs>(0, std::min(left_ns, own_ns));
  }

 private:
  TimeNs at_mono_ns_ = 0;
};

// The value of a `grpc-timeout` header: digits and one of H M S m u n. What does not parse is -1,
// and is not taken for 'no deadline'.
TimeNs parse_grpc_timeout_ns(std::string_view text) noexcept;
// Rounded down, at most eight digits.
std::string grpc_timeout_text(TimeNs timeout_ns);

}  // namespace weir::adaptive
