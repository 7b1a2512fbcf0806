// Everything before one piece of work, in the order in which refusing is cheapest and undoing is
// rarest: what only reads comes first, what takes something that cannot be given back whole (a
// limit's tokens, the host's one probe) comes last.
#include <cstring>

#include "libclient/toolkit.h"

using namespace weir::client;

namespace {

struct Guard {
  weir_entry entry;  // 3 words
  weir_call call;    // 5 words
  weir_entry tenant;
  std::uint64_t reserved;
};
static_assert(sizeof(Guard) == sizeof(weir_guard));
static_assert(sizeof(weir_entry) == 24 && sizeof(weir_call) == 40);

void leave_both(Guard& guard) noexcept {
  (void)weir_leave(&guard.tenant);
  (void)weir_leave(&guard.entry);
}

weir_status begin(const weir_guard_options& ask, Guard& guard) noexcept {
  if (ask.deadline_mono_ns != 0 &&
      weir_deadline_can_finish(
          ask.deadline_mono_ns,
          static_cast<std::int64_t>(std::min<std::uint64_t>(ask.expected_ns, INT64_MAX))) == 0)
    return WEIR_DENY_DEADLINE;
  if (ask.resource != nullptr) {
    if (breaker_refuses(*ask.resource)) return weir_call_begin(ask.resource, &guard.call, nullptr);
    if (const weir_status s = weir_throttle(ask.resource); s != WEIR_ALLOW) return s;
    if (const weir_status s = weir_shed(ask.resource, ask.priority_class); s != WEIR_ALLOW)
      return s;
    if (const weir_status s = weir_enter(ask.resource, ask.priority_class, &guard.entry);
        s != WEIR_ALLOW)
      return s;
  }
  if (ask.tenant != nullptr)
    if (const weir_status s = weir_enter(ask.tenant, ask.priority_class, &guard.tenant);
        s != WEIR_ALLOW)
      return leave_both(guard), s;
  const std::uint32_t tokens = ask.tokens != 0 ? ask.tokens : 1;
  if (ask.limit != nullptr)
    if (const weir_status s = weir_try_acquire_class(ask.limit, tokens, ask.priority_class);
        s != WEIR_ALLOW)
      return leave_both(guard), s;
  if (ask.resource != nullptr)
    if (const weir_status s = weir_call_begin(ask.resource, &guard.call, nullptr);
        s != WEIR_ALLOW) {
      if (ask.limit != nullptr) (void)weir_refund(ask.limit, tokens);
      return leave_both(guard), s;
    }
  return WEIR_ALLOW;
}

}  // namespace

extern "C" {

weir_status weir_guard_begin(const weir_guard_options* options, weir_guard* opaque) {
  if (opaque == nullptr) return WEIR_E_INVALID;
  std::memset(opaque, 0, sizeof(*opaque));
  if (options == nullptr || options->struct_bytes < 2 * sizeof(std::uint32_t))
    return WEIR_E_INVALID;
  weir_guard_options known{};
  std::memcpy(&known, options, std::min<std::size_t>(options->struct_bytes, sizeof(known)));
  if (!class_ok(known.priority_class & ~WEIR_RETRY)) return WEIR_E_INVALID;
  return begin(known, *reinterpret_cast<Guard*>(opaque));
}

weir_status weir_guard_end(weir_guard* opaque, int32_t outcome) {
  if (opaque == nullptr || outcome < WEIR_DONE_OK || outcome > WEIR_DONE_IGNORED)
    return WEIR_E_INVALID;
  auto* guard = reinterpret_cast<Guard*>(opaque);
  (void)weir_call_end(&guard->call, outcome);
  (void)weir_leave(&guard->tenant);
  return weir_leave(&guard->entry);
}

}  // extern "C"
