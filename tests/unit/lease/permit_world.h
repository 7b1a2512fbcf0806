// A server's permit book, some hosts with their desks, and a network that loses, doubles, delays
// and reorders, all from one seed in virtual time. The oracle looks at every step: permits in use
// over all hosts never exceed the limit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "lease/permit_book.h"
#include "lease/permit_desk.h"
#include "lease/random.h"

namespace weir::lease {

struct WorldOptions {
  std::uint64_t seed = 1;
  int hosts = 4;
  Permits max = 20;
  Permits eager = 12;  // clients of a host that would like to enter, at most
  TimeNs hold_max_ns = 2 * kSecond;
  bool faults = true;
  PermitFallback fallback = PermitFallback::closed;
  PermitBookOptions book{};
  PermitDeskOptions::Mutants desk{};
  bool rough_wire = true;  // doubles and reorders within a connection
};

class PermitWorld {
 public:
  explicit PermitWorld(const WorldOptions& options) : options_(options), random_(options.seed) {
    options_.book.forget_ns = 60 * kSecond;
    hosts_.resize(static_cast<std::size_t>(options.hosts));
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      hosts_[i].identity = {"host" + std::to_string(i), i + 1};
      start_agent(hosts_[i]);
      hosts_[i].demand = options.eager;
    }
    start_server(false);
  }

  void run(TimeNs duration_ns) {
    const TimeNs end_ns = now_ns_ + duration_ns;
    while (now_ns_ < end_ns)
      step();
  }
  void step() {
    now_ns_ += 5 * kMs;
    if (options_.faults) make_trouble();
    deliver();
    if (server_up_) poll_server();
    for (Host& host : hosts_) {
      move_clients(host);
      if (host.agent_up) run_agent(host);
    }
    look();
  }

  Permits in_use() const {
    Permits sum = 0;
    for (const Host& host : hosts_)
      sum += host.in_flight;
    return sum;
  }
  Permits worst() const { return worst_; }
  std::uint64_t entered(std::size_t host) const { return hosts_[host].entered; }
  Permits in_use(std::size_t host) const { return hosts_[host].in_flight; }
  Permits cap(std::size_t host) const { return hosts_[host].in_force; }
  void set_demand(std::size_t host, Permits demand) { hosts_[host].demand = demand; }
  void set_max(Permits max) {
    options_.max = max;
    book_->set_rules({{"db", max}}, now_ns_);
  }
  void kill_server() {
    server_up_ = false;
    cut_all();
  }
  void restart_server() { start_server(true); }
  void kill_agent(std::size_t host) { stop_agent(hosts_[host]); }
  void restart_agent(std::size_t host) { restart_agent(hosts_[host]); }
  void partition(std::size_t host, TimeNs duration_ns) {
    hosts_[host].cut_until_ns = now_ns_ + duration_ns;
    disconnect(hosts_[host]);
  }
  bool leave(std::size_t index) {
    Host& host = hosts_[index];
    host.desk->leave(now_ns_);
    host.in_force = 0;
    host.desk->applied("db", host.in_flight);
    const auto last = host.desk->last_report(now_ns_);
    if (!last || !book_->report(host.identity, *last, now_ns_, answer_)) return false;
    book_->leave(host.identity, host.session, now_ns_);
    host.agent_up = false;
    host.session = 0;
    return true;
  }
  PermitBook& book() { return *book_; }
  PermitDesk& desk(std::size_t host) { return *hosts_[host].desk; }
  TimeNs now_ns() const { return now_ns_; }
  std::uint64_t messages() const { return messages_; }

 private:
  struct Host {
    Identity identity;
    std::unique_ptr<PermitDesk> desk;
    PermitDeskState saved;
    bool agent_up = false;
    TimeNs start_at_ns = 0;
    SessionId session = 0;  // as the server has it
    std::uint64_t connection = 0;
    bool welcomed = false;
    TimeNs connect_at_ns = 0;
    TimeNs cut_until_ns = 0;
    TimeNs heard_ns = 0;
    // The clients.
    Permits in_force = 0;  // by the rules segment
    Permits old_cap = -1;  // of processes that have not moved over to this agent's; -1: none
    TimeNs old_until_ns = 0;
    TimeNs apply_at_ns = -1;
    Permits in_flight = 0;
    Permits refused = 0;
    Permits demand = 0;
    std::uint64_t entered = 0;
    std::vector<TimeNs> ends;
  };
  struct Welcome {
    SessionId session = 0;
  };
  struct Message {
    TimeNs at_ns = 0;
    std::uint64_t connection = 0;
    std::size_t host = 0;
    std::variant<PermitReport, PermitGrants, Welcome> what;
  };

  void start_server(bool learns) {
    book_ = std::make_unique<PermitBook>(options_.book, now_ns_);
    book_->set_rules({{"db", options_.max}}, now_ns_);
    learning_until_ns_ = learns ? now_ns_ + lengthened(options_.book.ttl_ns) : now_ns_;
    joined_ = 0;
    server_up_ = true;
  }
  void cut_all() {
    for (Host& host : hosts_)
      disconnect(host);
  }
  void disconnect(Host& host) {
    if (host.session != 0 && server_up_) book_->leave(host.identity, host.session, now_ns_);
    host.session = 0;
    host.connection = ++connections_;
    host.welcomed = false;
    host.connect_at_ns = now_ns_ + random_.between(10, 300) * kMs;
    if (host.agent_up) host.desk->closed(now_ns_);
  }
  void start_agent(Host& host) {
    PermitDeskOptions options;
    options.started_ns = now_ns_;
    options.ttl_ns = options_.book.ttl_ns;
    options.mutants = options_.desk;
    host.desk = std::make_unique<PermitDesk>(options);
    host.desk->restore(host.saved);
    host.desk->heard(host.heard_ns);
    host.desk->set_resources({{"db", options_.max, options_.fallback}}, now_ns_);
    host.agent_up = true;
    host.connect_at_ns = now_ns_ + random_.between(1, 200) * kMs;
  }
  void stop_agent(Host& host) {
    disconnect(host);
    host.agent_up = false;
    host.apply_at_ns = -1;
    host.start_at_ns = now_ns_ + random_.between(50, 3000) * kMs;
  }
  void restart_agent(Host& host) {
    // Its processes go on by the rules segment of the agent before this one, for a while.
    host.old_cap = std::max(host.old_cap, host.in_force);
    host.old_until_ns = now_ns_ + random_.between(0, 2000) * kMs;
    start_agent(host);
    host.desk->hold_confirmations(true);
  }

  void make_trouble() {
    if (server_up_ && now_ns_ >= server_quiet_ns_ && random_.between(0, 6000) == 0 && all_well()) {
      server_up_ = false;
      cut_all();
      server_at_ns_ = now_ns_ + random_.between(100, 4000) * kMs;
    }
    if (!server_up_ && now_ns_ >= server_at_ns_) {
      start_server(true);
      // What a server that has just started is not told for longer than it learns it cannot know.
      server_quiet_ns_ = now_ns_ + 25 * kSecond;
    }
    for (Host& host : hosts_) {
      const bool calm = server_up_ && now_ns_ >= server_quiet_ns_;
      if (host.agent_up && calm && random_.between(0, 4000) == 0) {
        stop_agent(host);
      } else if (!host.agent_up && now_ns_ >= host.start_at_ns) {
        restart_agent(host);
      } else if (calm && random_.between(0, 4000) == 0) {
        host.cut_until_ns = now_ns_ + random_.between(100, 20'000) * kMs;
        disconnect(host);
      } else if (random_.between(0, 1500) == 0) {
        disconnect(host);
      }
      if (random_.between(0, 800) == 0) host.demand = random_.between(0, options_.eager);
    }
  }
  bool all_well() const {
    return std::all_of(hosts_.begin(), hosts_.end(), [&](const Host& host) {
      return host.agent_up && host.cut_until_ns <= now_ns_ && host.old_cap < 0;
    });
  }

  void send(std::size_t host, std::variant<PermitReport, PermitGrants, Welcome> what) {
    ++messages_;
    const bool welcome = std::holds_alternative<Welcome>(what);
    const int copies = options_.rough_wire && !welcome && random_.between(0, 9) == 0 ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      TimeNs delay_ns = random_.between(1, 20) * kMs;
      if (options_.rough_wire && !welcome && random_.between(0, 19) == 0)
        delay_ns = random_.between(20, 6000) * kMs;
      messages_under_way_.push_back({now_ns_ + delay_ns, hosts_[host].connection, host, what});
    }
  }
  void deliver() {
    std::vector<Message> due;
    std::erase_if(messages_under_way_, [&](const Message& message) {
      if (message.at_ns > now_ns_) return false;
      due.push_back(message);
      return true;
    });
    for (const Message& message : due) {
      Host& host = hosts_[message.host];
      if (message.connection != host.connection || !host.agent_up || !server_up_) continue;
      host.heard_ns = now_ns_;
      host.desk->heard(now_ns_);
      if (const auto* welcome = std::get_if<Welcome>(&message.what)) {
        host.welcomed = true;
        host.desk->opened(welcome->session, true, now_ns_);
      } else if (const auto* grants = std::get_if<PermitGrants>(&message.what)) {
        host.desk->on_grants(*grants, now_ns_);
      } else if (book_->report(host.identity, std::get<PermitReport>(message.what), now_ns_,
                               answer_)) {
        send(message.host, answer_);
        send_pushes();
      }
    }
  }
  void poll_server() {
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      Host& host = hosts_[i];
      if (!host.agent_up || host.session != 0 || now_ns_ < host.connect_at_ns ||
          now_ns_ < host.cut_until_ns)
        continue;
      host.session = ++sessions_;
      book_->join(host.identity, host.session, true, now_ns_);
      joined_ |= 1ULL << i;
      send(i, Welcome{host.session});
    }
    const bool all_spoke = joined_ == (1ULL << hosts_.size()) - 1;
    if (all_spoke) learning_until_ns_ = std::min(learning_until_ns_, now_ns_);
    book_->set_learning(now_ns_ < learning_until_ns_, now_ns_);
    book_->poll(now_ns_);
    send_pushes();
  }
  void send_pushes() {
    book_->take_pushes(pushes_);
    for (const PermitGrants& push : pushes_)
      for (std::size_t i = 0; i < hosts_.size(); ++i)
        if (hosts_[i].session == push.session) send(i, push);
  }

  void move_clients(Host& host) {
    std::erase_if(host.ends, [&](TimeNs end_ns) { return end_ns <= now_ns_; });
    host.in_flight = static_cast<Permits>(host.ends.size());
    const Permits cap = std::max(host.in_force, host.old_cap);
    for (Permits i = host.in_flight; i < host.demand; ++i) {
      if (random_.between(0, 3) != 0) continue;
      if (host.in_flight >= cap) {
        ++host.refused;
        continue;
      }
      ++host.in_flight;
      ++host.entered;
      host.ends.push_back(now_ns_ + random_.between(5 * kMs, options_.hold_max_ns));
    }
  }
  void run_agent(Host& host) {
    if (host.old_cap >= 0 && now_ns_ >= host.old_until_ns) {
      host.old_cap = -1;
      host.desk->hold_confirmations(false);
    }
    host.desk->observe("db", host.in_flight, std::exchange(host.refused, 0));
    host.desk->tick(now_ns_);
    const auto changes = host.desk->changes();
    // Sometimes the agent is busy for a while between what it hears and what it does.
    if (!changes.empty() && host.apply_at_ns < 0)
      host.apply_at_ns = now_ns_ + random_.between(0, 10) / 8 * 50 * kMs;
    if (!changes.empty() && now_ns_ >= host.apply_at_ns) {
      host.apply_at_ns = -1;
      host.saved = host.desk->state();  // before it is in force
      host.in_force = changes.front().cap;
      host.desk->applied("db", host.in_flight);
    }
    const auto at = static_cast<std::size_t>(&host - hosts_.data());
    if (!host.welcomed) return;
    const PermitReport* report = host.desk->next_report(now_ns_);
    if (report == nullptr) return;
    host.saved = host.desk->state();  // before anything is said of it
    send(at, *report);
  }
  void look() { worst_ = std::max(worst_, in_use() - options_.max); }

  WorldOptions options_;
  Random random_;
  TimeNs now_ns_ = 100 * kSecond;
  std::vector<Host> hosts_;
  std::unique_ptr<PermitBook> book_;
  bool server_up_ = false;
  TimeNs server_at_ns_ = 0;
  TimeNs server_quiet_ns_ = 0;
  TimeNs learning_until_ns_ = 0;
  std::uint64_t joined_ = 0;
  std::uint64_t connections_ = 0;
  SessionId sessions_ = 0;
  std::uint64_t messages_ = 0;
  Permits worst_ = -1'000'000;
  std::vector<Message> messages_under_way_;
  std::vector<PermitGrants> pushes_;
  PermitGrants answer_;
};

}  // namespace weir::lease
