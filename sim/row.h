// One limit on one host: the bucket that processes spend from, minted by the host's own clock, and
// the callers. Each call is an event of its own at its exact instant, in runs of any size; the
// row works them off in a batch up to now, whenever something is about to change.
#pragma once

#include <cstdint>
#include <vector>

#include "lease/desk.h"
#include "sim/arrivals.h"
#include "sim/clock.h"
#include "sim/fifo.h"

namespace weir::sim {

using lease::Micro;

// What a row does when the lease and its tail are over.
enum class Fallback : std::uint8_t { strict, local, open };

struct Callers {
  bool by_chance = false;     // Poisson; else evenly
  bool wait = false;          // in a queue; else they try and take no for an answer
  std::uint32_t tokens = 1;   // of each call
  std::uint32_t retries = 0;  // a refused one comes again so many times, marked as a retry
  TimeNs retry_after_ns = 100 * lease::kMs;
  TimeNs wait_most_ns = 10 * lease::kSecond;
};

struct Admission {
  TimeNs at_ns = 0;
  Micro amount = 0;
};

// Where a row writes down what it admits. Kept apart is what no rule can prevent: tokens that a
// stopped agent could not withdraw, what a copied host spends until the copy is found out, and
// what a fallback other than strict lets through.
struct AdmissionLog {
  std::vector<Admission> admitted;
  std::vector<Admission> outside;
  Micro stale = 0;
  Micro copied = 0;
  Micro fallback = 0;
};

class Row {
 public:
  Row(const Callers& callers, Arrivals arrivals) : callers_(callers), arrivals_(arrivals) {}

  void begin(TimeNs now_ns, const Clock& clock) { minted_ns_ = clock.local(now_ns); }
  // Works off all calls up to `now`. `agent` is whether somebody withdraws what has ended; while
  // nobody does, the processes mint for themselves by what was published last.
  void advance(TimeNs now_ns, const Clock& clock, bool agent, AdmissionLog& log);
  // Nobody calls, mints or spends in the meantime: the machine was off.
  void skip(TimeNs now_ns, const Clock& clock);

  // The agent puts new terms in force. The row must have been advanced to now.
  void set_terms(const lease::LeaseView& view);
  void fill(Micro amount);
  std::uint64_t drain();  // whole tokens that were in it
  // The host's clock, which the row has been advanced by, jumps. What is minted for time that has
  // not passed is known for what it is.
  void leap(const Clock& clock, TimeNs now_ns);
  void lose_tokens() { level_ = stale_ = 0; }
  void set_fallback(Fallback mode, Micro rate, Micro burst);
  void set_rate(double tokens_per_s, TimeNs now_ns);
  void set_copy(bool copy);
  // What a client that marks no retries would make of it.
  void count_retries() { count_retries_ = true; }
  void reseed(std::uint64_t seed, TimeNs now_ns);
  Arrivals& arrivals() { return arrivals_; }

  lease::Usage usage(TimeNs now_ns) const;
  // Since the last call of observed(): has a fresh caller been refused or begun to wait, or were
  // tokens that were handed out whole spent?
  bool news() const noexcept {
    return refused_ != refused_observed_ ||
           (spent_ != spent_observed_ && view_.rate == 0 && view_.burst > 0);
  }
  void observed() noexcept {
    refused_observed_ = refused_;
    spent_observed_ = spent_;
  }
  // About when there will be news.
  TimeNs news_ns(TimeNs now_ns) const;

  const lease::LeaseView& terms() const noexcept { return view_; }
  std::uint64_t offered() const noexcept { return offered_; }  // tokens, fresh calls alone
  std::uint64_t spent() const noexcept { return spent_; }
  Micro level() const noexcept { return level_; }
  double demand() const noexcept { return arrivals_.rate() * callers_.tokens; }
  // How long callers waited who could not be served at once, since the last call.
  std::vector<TimeNs>& waits() noexcept { return waits_; }
  void measure_waits() noexcept { measure_ = true; }
  // The longest that passed between two admissions while somebody asked.
  TimeNs starved_most_ns() const noexcept { return starved_most_ns_; }

 private:
  struct Retry {
    TimeNs at_ns = 0;
    std::uint32_t left = 0;
    TimeNs since_ns = 0;
  };
  struct Span {
    Micro rate = 0;
    Micro burst = 0;
    TimeNs until_ns = 0;  // of the host's clock
    bool ends = false;    // a lease or a tail ends there, and nobody withdraws it
  };

  Span span(bool agent) const;
  Micro flow(Micro rate, TimeNs time_ns);
  void mint_to(TimeNs local_ns, bool agent);
  void cross();
  bool take(TimeNs now_ns, AdmissionLog& log);
  void call(TimeNs now_ns, AdmissionLog& log);
  void retry(TimeNs now_ns, AdmissionLog& log);
  void refuse(TimeNs now_ns, std::uint32_t retries_left, TimeNs since_ns);
  void serve_queue(TimeNs now_ns, AdmissionLog& log);
  TimeNs queue_ready_ns(const Clock& clock, bool agent) const;
  Micro price() const noexcept { return static_cast<Micro>(callers_.tokens) * lease::kToken; }

  Callers callers_;
  Arrivals arrivals_;
  lease::LeaseView view_;
  Fallback fallback_ = Fallback::strict;
  Micro fallback_rate_ = 0;
  Micro fallback_burst_ = 0;

  Micro level_ = 0;
  Micro stale_ = 0;        // spendable only because nobody withdrew it
  std::int64_t rest_ = 0;  // of a micro-token, in billionths
  TimeNs minted_ns_ = 0;   // up to when, of the host's clock
  Micro minted_total_ = 0;

  Fifo<Retry> retries_;
  Fifo<TimeNs> queue_;  // since when each waits
  std::vector<TimeNs> waits_;
  std::uint64_t offered_ = 0;
  std::uint64_t spent_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t refused_observed_ = 0;
  std::uint64_t spent_observed_ = 0;
  TimeNs refused_at_ns_ = -lease::kNever;
  TimeNs starved_since_ns_ = -1;
  TimeNs starved_most_ns_ = 0;
  bool copy_ = false;
  bool measure_ = false;
  bool count_retries_ = false;
};

}  // namespace weir::sim
