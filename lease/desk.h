// A host's side of the leases of one namespace: what it wants, what it holds, when that ends.
//
// The caller feeds usage in and carries messages; what the host may do at each instant comes out
// as changes, to be put in force before anything else is said. The order on waking, however long
// the sleep was: withdraw(), put the changes in force, then talk.
//
// Pure: messages and times in, messages and changes out. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lease/demand.h"
#include "lease/messages.h"
#include "lease/random.h"

namespace weir::lease {

struct DeskOptions {
  std::string host;
  std::uint64_t agent_epoch = 0;  // random; 0: taken from the seed
  std::uint64_t seed = 1;
  TimeNs refresh_ns = 1 * kSecond;     // until a server says otherwise
  TimeNs early_gap_ns = 50 * kMs;      // between requests that do not wait for the refresh
  TimeNs give_back_gap_ns = 10 * kMs;  // and when others wait for what is given back
  TimeNs retry_first_ns = 150 * kMs;
  TimeNs retry_most_ns = 1'200 * kMs;
  TimeNs hello_retry_ns = 500 * kMs;  // the first time, then twice as long each time
  TimeNs hello_retry_most_ns = 4 * kSecond;
  TimeNs fill_keep_ns = 500 * kMs;  // tokens that nobody takes go back after that
  // Whether an answer that lengthens leases is a change of each. If not, take_longer() says so.
  bool tell_longer = true;
};

struct DeskMutants {
  bool end_from_answer = false;  // a lease runs from when its answer came
  bool no_shortening = false;    // use the lease up to its last nanosecond
  bool full_rate = false;        // mint at the rate itself
  bool any_answer = false;       // take an answer that is not awaited
  bool talk_first = false;       // compose before withdrawing
  bool tail_for_ever = false;
  bool count_retries = false;   // want what retries ask for
  bool no_spend_bound = false;  // trust the own clock
  bool accept_lower_epoch = false;
  bool late_answers = false;      // take an answer whose lease is over
  bool keep_leases = false;       // keep what is held when a new identity is asked for
  bool ignore_withdrawn = false;  // keep what a server does not know of
  bool keep_fills = false;        // tokens that nobody takes stay
  bool no_early = false;          // wait for the refresh, whatever happens
};

// What was done with a limit so far, as read from the shared memory. Totals may start anywhere.
struct Usage {
  std::uint64_t spent_total = 0;    // whole tokens
  std::uint64_t refused_total = 0;  // of first attempts alone
  std::uint64_t minted_total = 0;   // fills included
  std::uint64_t level = 0;          // whole tokens in the bucket
  std::uint64_t need = 0;           // whole tokens that the first in the queue, or the last that
                                    // was refused, asks for at once; 0: nobody
};

enum class LeaseState : std::uint8_t {
  none,  // nothing was ever granted
  live,
  tail,   // the lease has ended; its tail goes on until tail_end_ns
  ended,  // the tail, too: the rule's fallback is in force
};

// What is in force for a limit. The rates here are what may be minted, the margin for a fast clock
// taken off.
struct LeaseView {
  LeaseState state = LeaseState::none;
  Micro rate = 0;
  Micro burst = 0;
  Micro tail_rate = 0;
  Micro tail_burst = 0;
  TimeNs end_ns = 0;
  TimeNs tail_end_ns = 0;
  TimeNs since_ns = 0;      // since when it is so
  std::uint32_t hosts = 0;  // that the limit is divided among, when it was said last
  Micro want = 0;
  bool granted_ever = false;
};

struct Change {
  std::uint32_t slot = 0;
  Micro fill = 0;      // put so many tokens into the bucket, besides what the view says
  bool drain = false;  // take all tokens out of the bucket and say how many: drained()
};

// What a desk keeps over a restart of the agent whose counters were adopted. Times are of a boot
// clock, so it is of no use after a reboot.
struct DeskState {
  struct Held {
    std::string name;
    Terms terms;
    Terms granted{};  // before any of it ended or was given back
    std::uint64_t proof = 0;
    TimeNs end_ns = 0, tail_end_ns = 0;
    std::uint32_t hosts = 0;
  };
  std::uint64_t agent_epoch = 0, hello_no = 0, session = 0, accepted_seq = 0, epoch_seen = 0;
  std::vector<Held> held;
};

class Desk {
 public:
  explicit Desk(DeskOptions options);

  // Limits are named by slots that the caller chooses, small and dense.
  void add_limit(std::uint32_t slot, const std::string& name, TimeNs now_ns);
  void remove_limit(std::uint32_t slot, TimeNs now_ns);

  // About every quarter of a refresh for a limit in use; and at once when it refuses.
  void observe(std::uint32_t slot, const Usage& usage, TimeNs now_ns);
  void drained(std::uint32_t slot, std::uint64_t tokens, TimeNs now_ns);

  // The link is up: what to say first. Withdraws what has ended before composing it; look at
  // take_changes() before sending.
  Hello connected(TimeNs now_ns);
  void disconnected(TimeNs now_ns);
  enum class Reply : std::uint8_t {
    ok,
    hello_again,   // a new identity was asked for: say connected() anew
    wrong_server,  // it is older than one that was heard: leave it
    ignored,
  };
  Reply on_welcome(const Welcome& welcome, TimeNs now_ns);
  // The acknowledgement to send at once, when the answer was taken.
  std::optional<Ack> on_answer(const Answer& answer, TimeNs now_ns);
  void on_poke(const Poke& poke, TimeNs now_ns);
  // Gives everything back; send it when the changes are in force.
  std::optional<Goodbye> leave(TimeNs now_ns);

  // Ends what has ended. Before anything else on every wake.
  void withdraw(TimeNs now_ns);
  // The request to send now, if any: a new one, or the same again. Valid until the next call.
  const Request* next_request(TimeNs now_ns);
  // The hello to repeat when no welcome came.
  std::optional<Hello> next_hello(TimeNs now_ns);
  // When withdraw() or next_request() has something to do, at the latest.
  TimeNs next_deadline(TimeNs now_ns) const;

  // Slots whose view has changed since the last call, fills and drains; each is told once.
  const std::vector<Change>& take_changes();
  // Whether the ends of live leases have moved on since the last call. To put that in force may
  // wait, while the old ends are far: a lease that ends early is in nobody's way.
  bool take_longer() noexcept { return std::exchange(longer_, false); }
  LeaseView view(std::uint32_t slot) const;

  bool connected() const noexcept { return session_ != 0; }
  std::uint64_t agent_epoch() const noexcept { return options_.agent_epoch; }
  std::uint64_t server_epoch() const noexcept { return epoch_seen_; }
  SessionId session() const noexcept { return session_; }
  TimeNs lease_end_ns() const noexcept { return end_ns_; }
  TimeNs refresh_ns() const noexcept { return refresh_ns_; }

  DeskState state() const;
  // Before the first add_limit() of the names in it.
  void restore(const DeskState& state);

  struct Counts {
    std::uint64_t requests_total = 0, retries_total = 0, answers_total = 0, busy_total = 0;
    std::uint64_t ignored_total = 0;    // answers that were not awaited, or too late
    std::uint64_t withdrawn_total = 0;  // leases that ended for want of an answer
    std::uint64_t identities_total = 0;
    std::uint64_t clock_runaway_total = 0;
    TimeNs round_trip_ns = 0;  // of the last answer that was taken
  };
  const Counts& counts() const noexcept { return counts_; }

  DeskMutants mutants;

 private:
  struct Row;
  Hello greet(TimeNs now_ns);
  struct Told {  // what the server was told last
    Micro rate = 0, need = 0, keep_rate = 0, keep_burst = 0;
    std::uint64_t spent = 0, refused = 0;
  };
  struct Row {
    std::string name;
    LimitId id = 0;
    bool active = false;
    bool changed = false;
    LeaseState state = LeaseState::none;
    Terms terms;    // as granted, or as cut since
    Terms granted;  // what `proof` proves, and so what is claimed
    std::uint64_t proof = 0;
    TimeNs end_ns = 0, tail_end_ns = 0, since_ns = 0;
    std::uint32_t hosts = 0;
    bool granted_ever = false;
    Demand demand;
    Usage usage;
    bool observed = false;
    std::uint64_t spent_base = 0, refused_base = 0;  // usage when the identity began
    Micro want = 0;
    std::uint64_t need = 0;  // kept for a while: whoever only tries does not stand and wait
    TimeNs need_ns = 0;
    Told told;
    bool must_tell = false;
    // Token mode.
    Micro fill_left = 0;  // of the last fill, not known to be spent
    TimeNs filled_ns = 0;
    Micro returned = 0;
    bool draining = false;
    // The bound on what may be minted in this session, by the server's clock.
    Micro credit = 0;
    std::uint64_t minted_base = 0;
    bool runaway = false;
  };

  Row* row_of(LimitId id);
  void change(std::uint32_t slot);
  void drop_all(TimeNs now_ns);
  void new_identity(TimeNs now_ns);
  void end_lease(std::uint32_t slot, TimeNs now_ns);
  void take_grant(std::uint32_t slot, const Grant& grant, TimeNs end_ns, TimeNs now_ns);
  void compose(TimeNs now_ns);
  bool worth_telling(const Row& row) const;
  void fill_want(Row& row, Want& want);
  void watch_fill(std::uint32_t slot, TimeNs now_ns);
  void check_early(Row& row, TimeNs now_ns);
  Micro mintable(Micro rate) const noexcept;
  TimeNs jittered(TimeNs interval_ns);

  DeskOptions options_;
  Random random_;
  std::vector<Row> rows_;
  std::vector<std::uint32_t> slots_;  // in use
  std::unordered_map<LimitId, std::uint32_t> index_;
  std::vector<Change> changes_, told_changes_;
  bool longer_ = false;
  std::vector<DeskState::Held> restored_;

  SessionId session_ = 0;
  SessionId prev_session_ = 0;
  std::uint64_t hello_no_ = 0;
  std::uint64_t epoch_seen_ = 0;
  std::uint64_t seq_ = 0;
  std::uint64_t accepted_seq_ = 0;
  bool greeting_ = false;  // a hello was sent, no welcome has come
  Hello hello_;
  TimeNs hello_sent_ns_ = 0;
  TimeNs hello_gap_ns_ = 0;

  Request request_;
  bool in_flight_ = false;
  TimeNs first_sent_ns_ = 0;
  TimeNs last_sent_ns_ = 0;
  TimeNs early_sent_ns_ = -kNever;  // the last one that did not wait for the refresh
  TimeNs retry_ns_ = 0;
  TimeNs refresh_ns_;
  TimeNs next_refresh_ns_ = 0;
  TimeNs early_at_ns_ = kNever;
  TimeNs end_ns_ = 0;  // of every live lease
  TimeNs earliest_end_ns_ = kNever;
  TimeNs server_ns_ = 0;
  TimeNs tail_ns_ = 0;
  TimeNs ttl_ns_ = 5 * kSecond;
  Counts counts_;
};

}  // namespace weir::lease
