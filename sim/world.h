// The simulation: hosts, servers, the network between them, what callers want and what breaks, as
// events in true time. One thread, one seed.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <iosfwd>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/events.h"
#include "sim/host.h"
#include "sim/measures.h"
#include "sim/network.h"
#include "sim/result.h"
#include "sim/server.h"
#include "sim/setup.h"
#include "sim/watch.h"

namespace weir::sim {

class World {
 public:
  explicit World(Setup setup);

  Result run();
  // Writes down what happens in [from, to].
  void trace(std::ostream& out, double from_s, double to_s);
  // Called now and then with the true time reached.
  std::function<void(double)> progress;

 private:
  struct Link {
    bool up = false;
    std::uint64_t number = 0;  // of the connection, or of the attempt
    std::uint32_t server = 0;
    std::uint64_t life = 0;  // of the server then: no connection outlives it
    TimeNs back_off_ns = 0;
    std::vector<Message> inbox;    // what came while the agent stood still
    std::uint64_t heard = 0;       // when a server took its hello last
    lease::SessionId welcome = 0;  // the session of which it was told last
    TimeNs welcome_ns = 0;
    bool asked = false;  // and was answered, since that hello
  };

  // world.cpp: the course of events.
  void begin();
  void dispatch(const Event& event);
  void step();
  void check();
  void check_limit(Watch& watch);
  void violate(const std::string& what, const Watch& watch, double amount, std::string note = {});
  void say_who_holds(const Watch& watch, const std::string& what);
  Result finish();
  void finish_counts(Result& result);
  void say(const std::string& line);
  bool traced() const {
    return trace_ != nullptr && now_ns_ >= trace_from_ && now_ns_ <= trace_to_;
  }

  // world_links.cpp: who talks to whom.
  void after_host(std::uint32_t host);
  void after_server(std::uint32_t server);
  void wake(std::uint32_t host);
  void plan_wake(std::uint32_t host);
  Packet to_server(std::uint32_t host, Message message) const;
  void send(Packet packet);
  void arrive(std::uint32_t packet);
  void arrive_at_host(Packet& packet);
  void arrive_at_server(Packet& packet);
  void plan_connect(std::uint32_t host, TimeNs in_ns);
  void connect(std::uint32_t host);
  void drop_link(std::uint32_t host, bool tell_server);
  void poll(std::uint32_t server);
  void update_server_parts();
  void handle(const Packet& packet);
  void look_for_copies(std::uint32_t host);
  void heard_of(std::uint32_t host);
  bool heard_last(std::uint32_t host) const;
  bool same_identity(std::uint32_t a, std::uint32_t b) const;

  // world_servers.cpp: owners.
  void start_server(std::uint32_t server, bool learn, TimeNs sent_ns);
  void keepalive(std::uint32_t server);
  void election();
  void plan_election();
  void crash_server(std::uint32_t server, TimeNs down_ns);
  void freeze_server(std::uint32_t server, TimeNs for_ns);
  std::vector<lease::LimitConfig> configs() const;
  void configure();
  void bound_by(const std::vector<lease::LimitConfig>& limits);
  void set_bound(std::uint32_t limit, const Bound& bound);
  std::uint32_t watch_of(lease::LimitId id) const { return watch_index_.at(id); }
  std::uint32_t owner_now() const;

  // world_demand.cpp: what callers want.
  void shift();
  double weight_of(std::uint32_t limit, std::uint32_t host, std::uint64_t phase) const;
  void deal_demand(std::uint32_t limit, std::uint64_t phase);
  void set_demand(std::uint32_t limit, std::uint32_t host);

  // world_faults.cpp: what breaks.
  void plan_fault();
  void break_something();
  void break_one(Fault fault, std::vector<std::uint32_t> hosts, TimeNs last_ns, double amount);
  void break_host(Fault fault, std::uint32_t host, TimeNs last_ns, double amount);
  void break_network(Fault fault, const std::vector<std::uint32_t>& hosts, TimeNs last_ns);
  void break_server(Fault fault, TimeNs last_ns);
  void copy_host(std::uint32_t host);
  void host_goes_on(std::uint32_t host);
  void spike(std::uint32_t limit, std::uint32_t host, double more, TimeNs last_ns);
  void change_limits(double factor, TimeNs last_ns);
  void later(TimeNs in_ns, std::function<void()> what);
  std::vector<std::uint32_t> pick_hosts(std::size_t count);

  Setup setup_;
  TimeNs now_ns_ = 0;
  TimeNs end_ns_ = 0;
  EventQueue events_;
  Network network_;
  Store store_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<Link> links_;
  std::deque<Packet> packets_;
  std::vector<std::uint32_t> free_packets_;
  Watches watches_;
  Measures measures_;
  std::vector<std::function<void()>> heals_;
  lease::Random random_;        // of links and servers
  lease::Random fault_random_;  // of what breaks, so that the core's doings do not change it
  std::uint64_t connections_ = 0;
  std::uint64_t heard_ = 0;
  std::uint64_t phase_ = 0;
  std::vector<std::vector<double>> demand_;  // tokens a second, by limit and host
  std::vector<std::vector<double>> extra_;
  std::vector<std::vector<std::uint32_t>> copies_;  // of a host: itself and its copies
  std::vector<std::uint32_t> original_;             // of a copy; itself otherwise
  std::map<std::uint32_t, std::uint32_t> copies_made_, takeovers_;  // by original
  std::array<std::uint32_t, kFaults> fault_counts_{};
  std::vector<double> learnings_;
  std::uint64_t messages_ = 0;
  std::uint64_t handled_ = 0;
  std::vector<Violation> violations_;
  std::vector<TimeNs> lowered_since_;  // since when hosts hold more than a limit that was lowered
  std::vector<TimeNs> lowered_most_;
  std::vector<Bound> base_;  // of the limits, before they changed
  std::uint64_t limit_changes_ = 0;
  std::vector<Bound> parts_;  // of the servers, by limit
  std::vector<lease::Book::Sums> sums_;
  bool parts_stale_ = true;
  std::map<lease::LimitId, std::uint32_t> watch_index_;

  std::ostream* trace_ = nullptr;
  TimeNs trace_from_ = 0;
  TimeNs trace_to_ = 0;
};

}  // namespace weir::sim
