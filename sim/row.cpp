#include "sim/row.h"

#include <algorithm>

namespace weir::sim {
namespace {

// A caller that was refused and does not wait is taken to be interested for so long.
constexpr TimeNs kInterestNs = lease::kSecond;

}  // namespace

Row::Span Row::span(bool agent) const {
  switch (view_.state) {
    case lease::LeaseState::live:
      if (minted_ns_ < view_.end_ns) return {view_.rate, view_.burst, view_.end_ns, !agent};
      break;
    case lease::LeaseState::tail:
      if (minted_ns_ < view_.tail_end_ns)
        return {view_.tail_rate, view_.tail_burst, view_.tail_end_ns, !agent};
      break;
    case lease::LeaseState::none:
    case lease::LeaseState::ended:
      return {fallback_rate_, fallback_burst_, lease::kNever, false};
  }
  // The agent is about to withdraw it. Nothing is minted for it any more, what is there is spent.
  return {0, lease::kMicroMax, lease::kNever, false};
}

// Whole micro-tokens; what is left of one stays in rest_.
Micro Row::flow(Micro rate, TimeNs time_ns) {
  std::int64_t small = 0;
  if (!__builtin_mul_overflow(rate, time_ns, &small) &&
      !__builtin_add_overflow(small, rest_, &small)) {
    rest_ = small % lease::kSecond;
    return small / lease::kSecond;
  }
  __extension__ typedef __int128 Wide;
  const Wide wide = static_cast<Wide>(rate) * time_ns + rest_;
  rest_ = static_cast<std::int64_t>(wide % lease::kSecond);
  return static_cast<Micro>(wide / lease::kSecond);
}

void Row::mint_to(TimeNs local_ns, bool agent) {
  while (minted_ns_ < local_ns) {
    const Span now = span(agent);
    const TimeNs stop_ns = std::min(local_ns, now.until_ns);
    if (now.rate > 0) {
      Micro more = flow(now.rate, stop_ns - minted_ns_);
      const Micro room = std::max<Micro>(0, now.burst - level_ - stale_);
      if (more > room) {
        more = room;
        rest_ = 0;
      }
      level_ += more;
      minted_total_ += more;
    }
    minted_ns_ = stop_ns;
    if (now.ends && stop_ns == now.until_ns) cross();
  }
}

// A lease or tail ends while nobody can withdraw it: processes see the end when they mint, but
// what is in the bucket stays spendable. Such tokens are told from those that may be spent.
void Row::cross() {
  Micro keep = 0;
  if (view_.state == lease::LeaseState::live && view_.tail_rate > 0) {
    view_.state = lease::LeaseState::tail;
    keep = std::min(level_, view_.tail_burst);
  } else {
    view_.state = lease::LeaseState::ended;
  }
  stale_ += level_ - keep;
  level_ = keep;
  rest_ = 0;
}

void Row::skip(TimeNs now_ns, const Clock& clock) {
  while (arrivals_.next_ns() <= now_ns)
    arrivals_.pop();
  mint_to(clock.local(now_ns), false);
}

void Row::set_terms(const lease::LeaseView& view) {
  view_ = view;
  Micro burst = fallback_burst_;
  if (view.state == lease::LeaseState::live) burst = view.burst;
  if (view.state == lease::LeaseState::tail) burst = view.tail_burst;
  level_ = std::min(level_, burst);
  stale_ = std::min(stale_, burst - level_);
}

// Its tokens are those that the other one had as well.
void Row::set_copy(bool copy) {
  copy_ = copy;
  if (copy) return;
  stale_ += level_;
  level_ = 0;
}

void Row::leap(const Clock& clock, TimeNs now_ns) {
  const Micro before = level_;
  mint_to(clock.local(now_ns), true);
  stale_ += level_ - before;
  level_ = before;
}

void Row::fill(Micro amount) {
  const Micro more = std::clamp<Micro>(view_.burst - level_ - stale_, 0, amount);
  level_ += more;
  minted_total_ += more;
}

std::uint64_t Row::drain() {
  const Micro all = level_ + stale_;
  level_ = stale_ = 0;
  rest_ = 0;
  return static_cast<std::uint64_t>(all / lease::kToken);
}

void Row::set_fallback(Fallback mode, Micro rate, Micro burst) {
  fallback_ = mode;
  fallback_rate_ = mode == Fallback::local ? rate : 0;
  fallback_burst_ = mode == Fallback::local ? burst : 0;
}

void Row::set_rate(double tokens_per_s, TimeNs now_ns) {
  arrivals_.set_rate(tokens_per_s / callers_.tokens, now_ns);
}

void Row::reseed(std::uint64_t seed, TimeNs now_ns) {
  const double rate = arrivals_.rate();
  arrivals_ = Arrivals(seed, callers_.by_chance, now_ns);
  arrivals_.set_rate(rate, now_ns);
}

bool Row::take(TimeNs now_ns, AdmissionLog& log) {
  const Micro cost = price();
  const bool leased =
      view_.state == lease::LeaseState::live || view_.state == lease::LeaseState::tail;
  if (!leased && fallback_ == Fallback::open && stale_ == 0) {
    log.outside.push_back({now_ns, cost});
    log.fallback += cost;
  } else if (level_ + stale_ < cost) {
    return false;
  } else {
    const Micro stale = std::min(stale_, cost);
    stale_ -= stale;
    level_ -= cost - stale;
    const bool outside = copy_ || (!leased && stale < cost && fallback_ == Fallback::local);
    if (stale > 0) log.outside.push_back({now_ns, stale});
    if (cost > stale) (outside ? log.outside : log.admitted).push_back({now_ns, cost - stale});
    (copy_ ? log.copied : log.stale) += stale;
    if (outside) (copy_ ? log.copied : log.fallback) += cost - stale;
  }
  spent_ += callers_.tokens;
  refused_at_ns_ = -lease::kNever;
  if (starved_since_ns_ >= 0)
    starved_most_ns_ = std::max(starved_most_ns_, now_ns - starved_since_ns_);
  starved_since_ns_ = -1;
  return true;
}

void Row::refuse(TimeNs now_ns, std::uint32_t retries_left, TimeNs since_ns) {
  refused_at_ns_ = now_ns;
  if (starved_since_ns_ < 0) starved_since_ns_ = now_ns;
  if (retries_left > 0)
    retries_.push({now_ns + callers_.retry_after_ns, retries_left - 1, since_ns});
}

void Row::call(TimeNs now_ns, AdmissionLog& log) {
  arrivals_.pop();
  offered_ += callers_.tokens;
  const bool served = queue_.empty() && take(now_ns, log);
  if (measure_ && served) waits_.push_back(0);
  if (served) return;
  refused_ += callers_.tokens;
  if (callers_.wait) {
    queue_.push(now_ns);
    if (starved_since_ns_ < 0) starved_since_ns_ = now_ns;
  } else {
    refuse(now_ns, callers_.retries, now_ns);
  }
}

// The client marks it as a retry: it counts as spent when it passes, and not at all when not.
void Row::retry(TimeNs now_ns, AdmissionLog& log) {
  const Retry one = retries_.front();
  retries_.pop();
  if (take(now_ns, log)) {
    if (measure_) waits_.push_back(now_ns - one.since_ns);
    return;
  }
  if (count_retries_) refused_ += callers_.tokens;
  refuse(now_ns, one.left, one.since_ns);
}

void Row::serve_queue(TimeNs now_ns, AdmissionLog& log) {
  const TimeNs since_ns = queue_.front();
  if (take(now_ns, log)) {
    if (measure_) waits_.push_back(now_ns - since_ns);
    queue_.pop();
  } else if (now_ns - since_ns >= callers_.wait_most_ns) {
    queue_.pop();
  }
}

// When the first in the queue can be served, by what is minted now.
TimeNs Row::queue_ready_ns(const Clock& clock, bool agent) const {
  const Micro lacking = price() - level_ - stale_;
  if (lacking <= 0) return clock.when(minted_ns_);
  const Span now = span(agent);
  if (now.rate <= 0 || now.burst + stale_ < price())
    return now.until_ns >= lease::kNever ? lease::kNever : clock.when(now.until_ns);
  __extension__ typedef __int128 Wide;
  const Wide flow = static_cast<Wide>(lacking) * lease::kSecond - rest_;
  const auto wait_ns = static_cast<TimeNs>((flow + now.rate - 1) / now.rate);
  return clock.when(std::min(now.until_ns, minted_ns_ + wait_ns));
}

void Row::advance(TimeNs now_ns, const Clock& clock, bool agent, AdmissionLog& log) {
  for (;;) {
    TimeNs next_ns = arrivals_.next_ns();
    enum { fresh, again, waiting } what = fresh;
    if (!retries_.empty() && retries_.front().at_ns < next_ns) {
      next_ns = retries_.front().at_ns;
      what = again;
    }
    if (!queue_.empty()) {
      const TimeNs served_ns =
          std::min(queue_ready_ns(clock, agent), queue_.front() + callers_.wait_most_ns);
      if (served_ns < next_ns) {
        next_ns = served_ns;
        what = waiting;
      }
    }
    if (next_ns > now_ns) break;
    mint_to(clock.local(next_ns), agent);
    if (what == fresh)
      call(next_ns, log);
    else if (what == again)
      retry(next_ns, log);
    else
      serve_queue(next_ns, log);
  }
  mint_to(clock.local(now_ns), agent);
}

lease::Usage Row::usage(TimeNs now_ns) const {
  lease::Usage usage;
  usage.spent_total = spent_;
  usage.refused_total = refused_;
  usage.minted_total = static_cast<std::uint64_t>(minted_total_ / lease::kToken);
  usage.level = static_cast<std::uint64_t>((level_ + stale_) / lease::kToken);
  const bool interested = !queue_.empty() || now_ns - refused_at_ns_ < kInterestNs;
  usage.need = interested ? callers_.tokens : 0;
  return usage;
}

TimeNs Row::news_ns(TimeNs now_ns) const {
  if (news()) return now_ns;
  const TimeNs next_ns = arrivals_.next_ns();
  if (next_ns >= lease::kNever) return lease::kNever;
  const Span now = span(true);
  const Micro then =
      std::min(std::max(now.burst, level_), level_ + lease::minted(now.rate, next_ns - now_ns));
  if (then < price() || (view_.rate == 0 && view_.burst > 0)) return next_ns;
  const double fall = demand() * 1e6 - static_cast<double>(now.rate);
  if (fall <= 0) return lease::kNever;
  const double seconds = static_cast<double>(then - price()) / fall;
  return seconds > 1e6 ? lease::kNever : next_ns + static_cast<TimeNs>(seconds * 1e9);
}

}  // namespace weir::sim
