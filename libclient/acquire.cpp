// The calls that are not compiled into programs. Everything that is not the common case lives in
// refuse.cpp.
#include "libclient/client.h"

using weir::client::acquire_slow;
using weir::client::Attempt;
using weir::client::refused;
using weir::client::refused_counted;
using namespace weir::shm;

// Any number of tokens, from the start: what weir.h has in line stays valid for n == 1.
extern "C" weir_status weir_try_acquire_head1(weir_limit* limit, uint32_t n) {
  if (limit == nullptr || n == 0) [[unlikely]]
    return WEIR_E_INVALID;
  // acquire: the pointers read below are at least as new as the expected word.
  const std::uint64_t expected = limit->expected.load(std::memory_order_acquire);
  const A64* hot = limit->hot.load(std::memory_order_relaxed);
  if (hot->load(std::memory_order_relaxed) != expected) [[unlikely]]
    return acquire_slow(*limit, n, WEIR_CRITICAL, Attempt::first);
  if ((expected & (kHotStriped | kHotReserve)) != 0) {
    if ((expected & kHotReserve) != 0)
      return acquire_slow(*limit, n, WEIR_CRITICAL, Attempt::first);
    if (take_from_stripe(limit->rseq_area, limit->stripes.load(std::memory_order_relaxed),
                         limit->stripe_count.load(std::memory_order_relaxed), n)) [[likely]]
      return WEIR_ALLOW;
  }
  CounterSlot& slot = *limit->slot.load(std::memory_order_relaxed);
  const Spend spend = n == 1 ? spend_one(slot) : spend_many(slot, n, 0);
  if (spend == Spend::ok) [[likely]]
    return WEIR_ALLOW;
  return refused(*limit, n, 0, Attempt::first);
}

extern "C" weir_status weir_refused_head1(weir_limit* limit) { return refused_counted(*limit); }

// What a program that does not compile weir.h calls. Parentheses: not the one in line.
extern "C" weir_status(weir_try_acquire)(weir_limit* limit, uint32_t n) {
#ifdef WEIR_INLINE
  return weir_try_acquire_inline(limit, n);
#else
  return weir_try_acquire_head1(limit, n);
#endif
}

extern "C" weir_status weir_try_acquire_class(weir_limit* limit, uint32_t n,
                                              int32_t priority_class) {
  const Attempt attempt = (priority_class & WEIR_RETRY) != 0 ? Attempt::retry : Attempt::first;
  priority_class &= ~WEIR_RETRY;
  if (limit == nullptr || n == 0 || priority_class < 0 || priority_class >= int32_t{kClasses})
    return WEIR_E_INVALID;
  return acquire_slow(*limit, n, priority_class, attempt);
}
