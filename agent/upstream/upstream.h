// The agent's talk with its token server: what it holds, puts in force, wants and says. It owns the
// lease desk and knows neither sockets nor threads; time comes from clocks that are passed in.
//
// The order is the same on every wake, however long the sleep was: what has ended is withdrawn, the
// domain mints up to now and publishes, and only then anything is said.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/domain.h"
#include "agent/upstream/saved_leases.h"
#include "agent/upstream/stats.h"
#include "agent/upstream/terms.h"
#include "lease/desk.h"
#include "rules/rules.h"

namespace weir::agent {

// The way to a server. What is said while there is none is lost, and nobody minds.
class Speaker {
 public:
  virtual ~Speaker() = default;
  virtual void say(const lease::Hello& hello) = 0;
  virtual void say(const lease::Request& request) = 0;
  virtual void say(const lease::Ack& ack) = 0;
  virtual void say(const lease::Goodbye& goodbye) = 0;
  virtual void go_elsewhere(const std::string& why) = 0;  // this server is none for us
};

struct UpstreamClocks {
  MonoClock boot_ns;  // goes on while the host is suspended: leases are judged by it
  MonoClock mono_ns;  // what clients see
};

struct UpstreamOptions {
  std::string host;
  std::uint64_t agent_epoch = 0;
  std::uint64_t seed = 1;
  std::int64_t request_timeout_ns = 500'000'000;
  std::int64_t ttl_ns = 5'000'000'000;  // of leases, until a server says otherwise
  bool several_servers = false;         // a silent one is left sooner
  std::string boot_id;
  std::string leases_file;  // empty: nothing is kept
};

inline constexpr std::int64_t kObserveNs = 50'000'000;
// Of a limit that has enough: its demand is a mean over longer times than this.
inline constexpr std::int64_t kObserveCalmNs = 200'000'000;
inline constexpr std::int64_t kObserveIdleNs = 250'000'000;
inline constexpr std::int64_t kJudgeNs = 100'000'000;
inline constexpr std::int64_t kRenewNs = 1'000'000'000;
inline constexpr std::int64_t kSaveNs = 1'000'000'000;
// Longer leases are put in force so often, and in such parts of lease and tail at the least.
inline constexpr std::int64_t kLongerNs = 250'000'000;
inline constexpr std::int64_t kLongerPart = 16;

class Upstream {
 public:
  Upstream(UpstreamOptions options, UpstreamClocks clocks, Speaker& speaker);
  ~Upstream();
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // What an agent before this one held, if it left that behind and its counters were taken over.
  // Before anything else.
  void restore(std::uint64_t counters_id);
  // The counters are new: its leases are not ours, and others still reckon with them.
  void forget(std::uint64_t counters_id) { read_saved(counters_id, false); }
  // The limits that are leased. Then the domain publishes them, asking terms_of() for each, and
  // bind() says where they live.
  void set_limits(const std::vector<LimitRule>& limits, std::uint32_t hosts);
  shm::LimitTerms terms_of(const LimitRule& rule) const;
  void bind(Domain& domain);

  // Before the domains mint: withdraws, puts in force, talks, when there is reason to.
  void tick();
  // In how long tick() has something to do, if nothing is heard before.
  std::int64_t due_in_ns() const { return std::min(next_run_ns_ - clocks_.boot_ns(), kRenewNs); }
  // After it: looks at what was spent and refused.
  void look();

  // From the connection.
  void on_open();
  void on_closed();
  void on_welcome(const lease::Welcome& welcome);
  void on_answer(const lease::Answer& answer);
  void on_poke(const lease::Poke& poke);
  void on_refused();
  void heard() { heard_ns_ = clocks_.boot_ns(); }
  // Gives everything back, before a stop after which nobody spends here.
  void leave();

  // For people.
  bool connected() const { return welcomed_; }
  bool answering() const { return answering_; }
  bool learning() const { return welcomed_ && learning_; }
  bool in_fallback() const { return fallback_since_ns_ != 0; }
  std::int64_t fallback_ns() const;  // in all
  std::int64_t fallback_since_ns() const { return fallback_since_ns_; }
  std::int64_t heard_ns() const { return heard_ns_; }
  std::int64_t now_ns() const { return clocks_.boot_ns(); }
  std::uint32_t hosts() const { return hosts_; }
  std::uint32_t limit_count() const { return static_cast<std::uint32_t>(limits_.size()); }
  const std::string& host() const { return options_.host; }
  const UpstreamCounts& counts() const { return counts_; }
  const RoundTrips& round_trips() const { return round_trips_; }
  const lease::Desk& desk() const { return desk_; }
  struct LimitView {
    lease::LeaseView lease;
    bool fallback = false;
    std::int64_t since_ns = 0;  // of the fallback, or of the lease's terms
  };
  std::optional<LimitView> view_of(const std::string& limit) const;

 private:
  struct Leased {
    LimitRule rule;
    std::uint32_t slot = 0;
    bool bound = false;
    bool fallback = false;
    std::int64_t fallback_since_ns = 0;
    bool watched = false;  // its demand is not nothing
    std::int64_t observed_ns = 0;
    lease::Terms saved;  // as the file has them
  };

  void read_saved(std::uint64_t counters_id, bool adopted);
  void run(std::int64_t now_ns);
  void say_hello(std::int64_t now_ns);
  void talk(std::int64_t now_ns);
  void judge(std::int64_t now_ns);
  bool fallback_due(const Leased& limit, const lease::LeaseView& view, std::int64_t now_ns) const;
  std::int64_t patience_ns() const;
  void leave_if_silent(std::int64_t now_ns);
  std::int64_t fallback_from_ns() const;
  void count_fallback(bool now_in_it, std::int64_t now_ns);
  void renew_idle(std::int64_t now_ns);
  void lengthen(std::int64_t now_ns);
  void apply(std::int64_t now_ns);
  bool collect_updates();
  void want_update(Leased& limit);
  LeaseUpdate& update_of(std::uint32_t slot);
  void save_if_less(std::int64_t now_ns);
  void save(std::int64_t now_ns);
  void observe(Leased& limit, std::int64_t now_ns);
  void observe_touched(std::int64_t now_ns);
  void observe_idle(std::int64_t now_ns);
  TermsContext context_of(bool fallback) const;

  UpstreamOptions options_;
  UpstreamClocks clocks_;
  Speaker& speaker_;
  lease::Desk desk_;
  Domain* domain_ = nullptr;
  std::map<std::string, Leased> limits_;
  std::vector<Leased*> by_slot_;
  std::map<std::string, lease::DeskState::Held> restored_;
  std::uint32_t hosts_ = 1;
  std::uint64_t counters_id_ = 0;

  std::vector<LeaseUpdate> updates_;
  std::vector<std::uint32_t> update_at_;  // by slot: its place in updates_, and 1

  bool open_ = false;
  std::int64_t opened_ns_ = 0;
  bool welcomed_ = false;
  bool answering_ = false;
  std::int64_t started_ns_ = 0;
  std::int64_t heard_ns_ = 0;  // 0: never
  bool learning_ = false;      // the server, when it was heard last
  std::uint64_t sent_seq_ = 0;
  std::int64_t sent_first_ns_ = 0;  // of the request under way; 0: none is
  std::int64_t usual_trip_ns_ = 0;  // a mean over some answers
  bool timed_out_ = false;

  std::int64_t next_run_ns_ = 0;
  std::int64_t next_judge_ns_ = 0;
  std::int64_t next_renew_ns_ = 0;
  std::int64_t next_observe_ns_ = 0;
  std::int64_t next_observe_idle_ns_ = 0;
  std::int64_t next_save_ns_ = 0;
  std::int64_t next_longer_ns_ = 0;
  bool longer_ = false;
  bool save_failed_ = false;

  std::int64_t fallback_since_ns_ = 0;
  UpstreamCounts counts_;
  RoundTrips round_trips_;
};

}  // namespace weir::agent
