// A simulated host: its clock, its agent (the desk and what an agent does around it), and the rows
// of buckets and callers. It knows no network: what it says is left in an outbox.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lease/desk.h"
#include "sim/clock.h"
#include "sim/message.h"
#include "sim/row.h"
#include "sim/watch.h"

namespace weir::sim {

enum class Life : std::uint8_t {
  running,
  stopped,  // the agent stands still, processes go on
  dead,     // the agent has died, processes go on; its counters can be adopted
  asleep,   // the whole machine stands still
  off,      // the machine has gone, with all that it knew
};

struct HostOptions {
  std::string name;
  std::uint64_t seed = 1;
  std::vector<Callers> callers;  // by limit
  Fallback fallback = Fallback::strict;
  lease::DeskMutants mutants;
  TimeNs refresh_ns = lease::kSecond;
  // The least time between looks at a row that refuses. An agent's tick is a millisecond, and it
  // looks at once when it was idle; large runs look only with the quarters of the refresh.
  TimeNs look_gap_ns = 20 * lease::kMs;
  std::uint32_t hosts = 1;  // that a limit is taken to be divided among before any server said so
  bool liar = false;        // claims what it was never granted
};

class Host {
 public:
  Host(HostOptions options, Clock clock, Watches& watches, TimeNs now_ns);
  Host(const Host&) = default;

  // The agent's turns. Each leaves what is to be sent in outbox.
  void wake(TimeNs now_ns);
  void deliver(const Message& message, TimeNs now_ns);
  void link_up(TimeNs now_ns);
  void link_down(TimeNs now_ns);
  // When it wants to be woken.
  TimeNs next_wake_ns(TimeNs now_ns) const;

  // Works off all callers, of a machine that is on.
  void advance(TimeNs now_ns);
  void set_fallback(std::uint32_t limit);

  // Callers come at another rate from now on.
  void demand_changed(TimeNs now_ns);
  // Its clock jumps.
  void leap(TimeNs forward_ns, TimeNs now_ns);
  void stop(Life life, TimeNs now_ns);
  void go_on(TimeNs now_ns);
  void leave(TimeNs now_ns);  // an orderly end
  // This is now a copy, taken while it ran, of the host that it was copied from.
  void become_copy(std::uint64_t seed, TimeNs now_ns);
  // Of those with one identity, the one whose hello was heard last is who servers know. What the
  // others hold and spend, nobody can know of; it is kept apart.
  void set_copy(bool copy, TimeNs now_ns);
  bool copy() const noexcept { return copy_; }
  std::uint64_t copied_identity() const noexcept { return copied_identity_; }
  std::uint64_t copied_epoch() const noexcept { return copied_epoch_; }

  Life life() const noexcept { return life_; }
  bool machine_on() const noexcept { return life_ != Life::off && life_ != Life::asleep; }
  const lease::Desk& desk() const noexcept { return *desk_; }
  const std::string& name() const noexcept { return options_.name; }
  std::vector<Row>& rows() noexcept { return rows_; }
  const std::vector<Row>& rows() const noexcept { return rows_; }
  TimeNs in_flight_since_ns() const noexcept { return in_flight_since_ns_; }
  // What the judges count as held of a limit.
  Bound held(std::uint32_t limit, TimeNs now_ns) const;

  Clock clock;
  std::vector<Message> outbox;
  bool wants_other_server = false;
  std::uint64_t wake_number = 0;  // of the wake that is planned; older ones have been overtaken
  TimeNs planned_wake_ns = lease::kNever;
  std::vector<std::uint32_t> changed;  // limits of which another rate is held now
  lease::Desk::Counts counts_before;   // of the desks that this host had before

 private:
  void new_desk(std::uint64_t seed, TimeNs now_ns);
  void apply(TimeNs now_ns);
  void look(TimeNs now_ns);
  void observe(std::uint32_t slot, TimeNs now_ns);
  void set_fallback(std::uint32_t limit, std::uint32_t hosts_known);
  void talk(TimeNs now_ns);
  void say_hello(lease::Hello hello, TimeNs now_ns);
  void update_held(std::uint32_t slot, TimeNs now_ns);
  bool agent_runs() const noexcept { return life_ == Life::running; }

  HostOptions options_;
  Watches* watches_;
  std::optional<lease::Desk> desk_;
  std::vector<Row> rows_;
  std::vector<Bound> told_held_;
  std::vector<TimeNs> looked_ns_;  // at a row, last
  std::vector<TimeNs> news_ns_;    // when it is to be looked at next
  Life life_ = Life::running;
  bool linked_ = false;
  bool copy_ = false;
  std::uint64_t copied_identity_ = 0;
  std::uint64_t copied_epoch_ = 0;
  TimeNs next_look_ns_ = 0;                    // at all rows
  TimeNs in_flight_since_ns_ = lease::kNever;  // since when nothing came back
  std::uint64_t lives_ = 0;
  std::optional<lease::DeskState> kept_;
};

}  // namespace weir::sim
