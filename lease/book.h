// The server's side of the leases of one namespace: who may hold how much of which limit.
//
// The rule that everything else serves: at every instant, for every limit and every ancestor of
// it, what hosts may hold and what the server mints itself is at most the limit, in rate and in
// burst. "May hold" counts the larger of what a host confirmed and what was offered since, and
// for a host that has gone silent its tail. Nothing is promised about fairness at an instant; the
// division moves towards max-min as hosts ask, and no grant waits for the division to be fresh.
//
// Pure: messages and times in, messages out. The caller owns the clock, the connections and the
// stable storage. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lease/limit_state.h"
#include "lease/messages.h"

namespace weir::lease {

// A host between two starts of its agent: what a server must remember over its own restart, so
// that learning ends as soon as all of them have said what they hold.
struct Identity {
  std::string host;
  std::uint64_t agent_epoch = 0;

  auto operator<=>(const Identity&) const = default;
};

// What a server remembers beside an identity whose host has come back with a new session: which
// one. A copy of the host knows older ones alone, and the next server tells it by that. It is
// written as an identity of its own, which nobody ever says hello by.
Identity mark_of(const Identity& identity, SessionId session);
inline constexpr std::size_t kMarkBytesMax = 21;  // that it is longer than the host's name

// A keyed hash over everything that it is given. A claim is believed only with the right one.
using Prove = std::function<std::uint64_t(const Identity&, LimitId, const Terms&)>;

struct BookOptions {
  std::uint64_t epoch = 1;  // higher than that of every server that ran before
  TimeNs ttl_ns = 5 * kSecond;
  TimeNs tail_ns = 5 * kSecond;
  TimeNs refresh_ns = 1 * kSecond;
  // Requests a second that hosts together should send; with more hosts each asks less often.
  std::uint32_t requests_per_s = 20'000;
  std::size_t hosts_max = 200'000;
  // A server that may have had a predecessor learns. `known` ends it early.
  bool learn = true;
  std::vector<Identity> known;
  // Hosts that were left alone go by their fallback until they find us; a server that has learned
  // does not reckon with that. So learning lasts as long as they may be on their way.
  TimeNs reconnect_ns = 0;
  Prove prove;  // empty: claims are not proved, and all are believed
};

// A rule taken out, for the tests that show that each one is needed. All false in earnest.
struct BookMutants {
  bool forget_offers = false;          // count what is offered last instead of the larger
  bool no_tails = false;               // reserve no tail for silent hosts
  bool no_learning = false;            // grant beyond claims from the start
  bool newcomers_lease = false;        // leases for newcomers while learning
  bool cap_claims = false;             // count claims only up to the limit
  bool any_session = false;            // no new identity for a clone
  bool full_bursts = false;            // a new burst comes filled
  bool no_server_lengthening = false;  // expire exactly at ttl
  bool repeat_decides = false;         // decide anew for a repeated request
  bool return_counts_always = false;   // credit what is returned beyond what was filled
  bool no_fence = false;
  bool believe_claims = false;    // without proof
  bool late_claims = false;       // believe claims when nothing can be out there any more
  bool resume_whole = false;      // believe a known host whatever it says it holds
  bool any_order = false;         // decide on requests that were overtaken
  bool any_ack = false;           // take an old confirmation for that of the last answer
  bool grant_target = false;      // grant what is due, whatever others still hold
  bool no_ancestors = false;      // look for room in the limit alone, not above it
  bool lease_reserve = false;     // lease what the next server relies on before it knows anything
  bool short_learning = false;    // learn for a lease, but not for its tail
  bool hasty_learning = false;    // learn until the first known host has spoken
  bool free_fills = false;        // hand tokens out without taking them from the server's bucket
  bool full_mint = false;         // mint the server's tokens without the margin for a fast clock
  bool offers_end_early = false;  // of a silent host: only the confirmed tail is reserved
  bool fills_come_back = false;   // take tokens back that a silent host may have accepted
  bool early_tokens = false;      // hand tokens out as soon as learning has begun
  bool unproved_spoke = false;    // a host whose claims were not believed has said what it holds
  bool twins_spoke = false;       // one of several copies of a host has spoken for all of them
  bool no_marks = false;          // tell the next server nothing of newer sessions
  bool hasty_hello = false;       // go by a hello whose welcome may never arrive
  bool light_fills = false;       // tokens on their way need no room
  bool no_pokes = false;          // nobody is asked to come before its time
};

class Book {
 public:
  Book(BookOptions options, TimeNs now_ns);
  ~Book();
  Book(Book&&) noexcept;
  Book& operator=(Book&&) noexcept;

  // The rules in force: limits that are not named end, what is lowered is lowered now. False when
  // the set is wrong (two names of one id, a parent that is missing, a cycle); then nothing changes
  // and `why` says what.
  bool set_limits(const std::vector<LimitConfig>& limits, TimeNs now_ns, std::string& why);

  // Nothing is granted from this instant on: an owner that has not heard of its election for too
  // long must not speak any more.
  void set_fence(TimeNs until_ns) noexcept { fence_ns_ = until_ns; }
  // Raised when a host reports a higher epoch than ours, as after a restored backup.
  void raise_epoch(std::uint64_t epoch) noexcept;

  struct Greeting {
    Welcome welcome;
    bool remember = false;  // a new identity: store it before the answer leaves
    // The same for this mark, in place of that one.
    std::optional<Identity> mark, unmark;
  };
  // Nothing when the hello is older than one that was heard, or there is no room.
  std::optional<Greeting> hello(const Hello& hello, TimeNs now_ns);
  // Nothing when the session is not (any more) one of ours, or the request is out of order.
  // The answer is valid until the next call.
  const Answer* request(const Request& request, TimeNs now_ns);
  // In place of request(), when there is no time to decide: the host keeps what it has.
  const Answer* busy(const Request& request, TimeNs now_ns);
  void ack(const Ack& ack, TimeNs now_ns);
  void goodbye(const Goodbye& goodbye, TimeNs now_ns);
  bool knows(SessionId session) const { return find(session) != nullptr; }

  struct Due {
    std::vector<SessionId> poke;
    std::vector<Identity> forgotten;  // need not be remembered any longer
  };
  // What time brings: ends of leases, tokens for those who wait, a fresh division. To be called
  // about every kPollNs; `due` is filled anew.
  void poll(TimeNs now_ns, Due& due);
  static constexpr TimeNs kPollNs = 10 * kMs;

  bool learning() const noexcept { return learning_; }
  TimeNs learning_end_ns() const noexcept { return learning_end_ns_; }
  std::uint64_t epoch() const noexcept { return options_.epoch; }
  std::size_t hosts() const noexcept { return live_; }
  TimeNs refresh_ns() const noexcept;
  TimeNs ttl_ns() const noexcept;
  TimeNs tail_ns() const noexcept { return options_.tail_ns; }

  // For people.
  struct LimitReport {
    std::string name;
    LimitId id = 0;
    Micro rate = 0, burst = 0;                // in force: per_host multiplied
    Micro leased_rate = 0, leased_burst = 0;  // may be held by hosts, tails included
    Micro server_rate = 0, server_level = 0, server_burst = 0;
    Micro want_total = 0;
    std::uint32_t hosts = 0, waiting = 0;
    std::uint64_t spent_total = 0, refused_total = 0;
  };
  struct HostReport {
    std::string host;
    Terms held;
    Micro want = 0, share = 0;
    std::uint32_t weight = 1, band = 0;
    bool live = false, token_mode = false;
    TimeNs heard_ns = 0;  // when the host was heard last
    TimeNs since_ns = 0;  // when its terms changed last
    std::uint64_t spent_total = 0, refused_total = 0;
  };
  std::vector<LimitReport> limits(TimeNs now_ns) const;
  std::vector<HostReport> hosts_of(LimitId limit) const;

  // The same for a judge who looks after every message, and so without a text or an allocation.
  struct Sums {
    LimitId id = 0;
    Micro rate = 0, burst = 0;
    Micro leased_rate = 0, leased_burst = 0;
    Micro server_rate = 0, server_burst = 0;
  };
  void sums(std::vector<Sums>& sums) const;

  // For tests and the simulator: what may be held now, the server's own part included, of rate and
  // of burst. Never above the limit's unless that was lowered a moment ago.
  std::pair<Micro, Micro> counted(LimitId limit) const;
  Micro server_level(LimitId limit, TimeNs now_ns) const;

  BookMutants mutants;

 private:
  struct Row;
  struct Holder;
  struct RowRef {
    std::uint32_t holder = 0, row = 0;
  };
  using Limits = std::vector<LimitState>;

  Holder* find(SessionId session);
  const Holder* find(SessionId session) const;
  std::uint32_t make_holder(const Hello& hello);
  void learn_claims(Holder& holder, const Hello& hello, Welcome& welcome);
  void resume(Holder& holder, TimeNs now_ns);
  void await_twin(const Holder& holder);
  void take_known(const Identity& identity);
  void mark_session(Holder& holder, Greeting& greeting);
  void note_claims(Holder& holder, const Hello& hello, Welcome& welcome);
  bool all_have_spoken() const noexcept;
  void open_session(Holder& holder, const Hello& hello, TimeNs now_ns);
  Row* row_of(Holder& holder, LimitId limit, std::size_t& cursor);
  Row& make_row(Holder& holder, std::uint32_t limit);
  void take_want(Holder& holder, Row& row, const Want& want, TimeNs now_ns);
  void settle_offers(Holder& holder, bool accepted, TimeNs now_ns);
  void decide(Holder& holder, Row& row, TimeNs now_ns);
  void rate_terms(Row& row, Micro share, TimeNs now_ns, Terms& terms);
  Terms token_terms(const Holder& holder, Row& row, TimeNs now_ns, Micro& fill);
  bool worth_telling(const Row& row, const Terms& terms) const;
  void recount(Row& row, TimeNs now_ns);
  void set_held(Row& row, const Terms& terms, TimeNs now_ns);
  TimeNs ttl_ns_at_server() const noexcept;
  Micro available_rate(const Row& row) const;
  Micro available_burst(const Row& row) const;
  void update_share(Row& row, TimeNs now_ns);
  void set_token_share(Row& row, Micro share);
  void want_attention(std::uint32_t limit);
  void expire(Holder& holder, TimeNs now_ns, Due& due);
  void drop_rows(Holder& holder, TimeNs now_ns);
  void forget(std::uint32_t index, Due* due);
  void fetch_ahead(const Holder& holder, std::size_t cursor) const noexcept;
  void fetch_row(std::pair<std::uint32_t, std::uint32_t> at) const noexcept;
  void flush(LimitState& limit, TimeNs now_ns);
  void divide_families(TimeNs now_ns);
  void serve_turns(LimitState& limit, TimeNs now_ns, Due& due);
  void poke_short(LimitState& limit, TimeNs now_ns, Due& due);
  void poke_uneven(LimitState& limit, TimeNs now_ns, Due& due);
  static TimeNs scan_gap_ns(const LimitState& limit) noexcept;
  void poke_over(LimitState& limit, TimeNs now_ns, Due& due);
  bool poke(Holder& holder, TimeNs now_ns, Due& due);
  void end_learning(TimeNs now_ns);
  Answer& open_answer(Holder& holder, std::uint64_t seq, TimeNs now_ns) const;
  void end_limit(std::uint32_t index, TimeNs now_ns);
  void link_families(const std::vector<LimitConfig>& limits, TimeNs now_ns);
  void apply_host_rules(Row& row);
  void apply_config(std::uint32_t index, const LimitConfig& config, TimeNs now_ns);
  void rescale(TimeNs now_ns);
  void resize(LimitState& limit, TimeNs now_ns);
  void leave_members(Row& row);
  void leave_fair(Row& row);
  Row& row_at(RowRef ref);

  BookOptions options_;
  Limits limits_;
  std::unordered_map<LimitId, std::uint32_t> limit_index_;
  std::vector<Holder> holders_;
  std::vector<std::uint32_t> free_holders_;
  std::map<Identity, std::uint32_t> identities_;
  std::multimap<TimeNs, std::uint32_t> ends_;  // of leases and tails: one entry a holder
  std::vector<std::uint32_t> gone_;            // said goodbye
  std::vector<std::uint32_t> attention_;       // limits that poll() must look at
  std::map<Identity, bool> awaited_;           // known before, not yet heard
  std::vector<Identity> missing_;              // were not heard in all of the learning
  std::map<Identity, SessionId> marks_;        // of those known before, where there is one
  std::size_t live_ = 0;
  std::uint64_t sessions_made_ = 0;
  TimeNs fence_ns_ = kNever;
  bool learning_ = false;
  bool quiet_over_ = false;
  TimeNs learning_start_ns_ = 0;
  TimeNs quiet_end_ns_ = 0;  // until then a server that learns keeps its tokens
  TimeNs learning_end_ns_ = 0;
  std::size_t families_ = 0;                 // limits with a parent
  std::vector<std::uint32_t> family_order_;  // these, each behind its parent
};

}  // namespace weir::lease
