// Owners: who may grant, and how that passes from one server to the next.
#include <algorithm>
#include <utility>

#include "sim/world.h"

namespace weir::sim {

std::vector<lease::LimitConfig> World::configs() const {
  std::vector<lease::LimitConfig> configs;
  for (const LimitPlan& plan : setup_.limits)
    configs.push_back(plan.config);
  return configs;
}

void World::start_server(std::uint32_t index, bool learn, TimeNs sent_ns) {
  Server& server = *servers_[index];
  server.life = Server::Life::running;
  server.begin(store_, configs(), learn, sent_ns, now_ns_);
  if (setup_.servers > 1) {
    store_.owner = index;
    store_.owner_until_ns = now_ns_ + Store::kOwnerTtlNs;
    events_.push(store_.owner_until_ns, EventKind::election);
  }
  if (traced())
    say("server " + std::to_string(index) + " is the owner, epoch " + std::to_string(store_.epoch));
  after_server(index);
}

// The owner confirms its election. Its own end counts from when it asked, the store's from when
// it heard.
void World::keepalive(std::uint32_t index) {
  Server& server = *servers_[index];
  if (server.life != Server::Life::running || server.store_cut || !server.owner()) return;
  const TimeNs sent_ns = now_ns_;
  const std::uint64_t life = server.lives;
  later(network_.delay(), [this, index, sent_ns, life] {
    const bool kept = store_.owner == index && now_ns_ < store_.owner_until_ns;
    if (kept) store_.owner_until_ns = now_ns_ + Store::kOwnerTtlNs;
    later(network_.delay(), [this, index, sent_ns, life, kept] {
      Server& asked = *servers_[index];
      if (asked.lives != life || asked.life != Server::Life::running || !asked.owner()) return;
      if (kept) {
        asked.renewed(sent_ns);
      } else {
        asked.end();
        after_server(index);
      }
    });
  });
}

void World::election() {
  if (store_.owner != kNobody && now_ns_ < store_.owner_until_ns) {
    events_.push(store_.owner_until_ns, EventKind::election);
    return;
  }
  store_.owner = kNobody;
  std::vector<std::uint32_t> candidates;
  for (const auto& server : servers_)
    if (server->life == Server::Life::running && !server->store_cut)
      candidates.push_back(server->index());
  if (candidates.empty()) {
    events_.push(now_ns_ + 200 * lease::kMs, EventKind::election);
    return;
  }
  const auto chosen = candidates[static_cast<std::size_t>(
      random_.between(0, static_cast<std::int64_t>(candidates.size()) - 1))];
  // It asks, and is told.
  const TimeNs sent_ns = now_ns_;
  later(network_.delay() + network_.delay(), [this, chosen, sent_ns] {
    Server& server = *servers_[chosen];
    if (store_.owner != kNobody) return;
    if (server.life != Server::Life::running || server.store_cut) {
      events_.push(now_ns_, EventKind::election);
      return;
    }
    if (server.owner()) server.end();
    start_server(chosen, true, sent_ns);
  });
}

std::uint32_t World::owner_now() const {
  if (setup_.servers == 1) return 0;
  return store_.owner == kNobody ? 0 : store_.owner;
}

void World::crash_server(std::uint32_t index, TimeNs down_ns) {
  Server& server = *servers_[index];
  if (server.life == Server::Life::down) return;
  // The process dies, and its machine says so to who is connected; or the machine does.
  server.silent = fault_random_.next() % 2 == 0;
  server.life = Server::Life::down;
  server.freeze_next = false;
  server.inbox.clear();
  server.outbox.clear();
  server.end();
  if (server.silent) server.outbox.clear();
  after_server(index);
  later(down_ns, [this, index] {
    Server& again = *servers_[index];
    if (again.life != Server::Life::down) return;
    again.life = Server::Life::running;
    if (setup_.servers == 1) start_server(index, true, now_ns_);
  });
}

void World::freeze_server(std::uint32_t index, TimeNs for_ns) {
  Server& server = *servers_[index];
  if (server.life != Server::Life::running || server.freeze_next) return;
  if (fault_random_.next() % 2 == 0)
    server.freeze_next = true;
  else
    server.life = Server::Life::frozen;
  const std::uint64_t number = ++server.freezes;
  later(for_ns, [this, index, number] {
    Server& again = *servers_[index];
    if (again.freezes != number) return;
    again.freeze_next = false;
    if (again.life != Server::Life::frozen) return;
    // It goes on where it was: what it was about to send, then what has come meanwhile, and only
    // then does it look at the clock.
    again.life = Server::Life::running;
    again.learning_last_ns = now_ns_;
    const bool old_limits = again.owner() && again.limits() != configs();
    if (old_limits) bound_by(again.limits());
    after_server(index);
    for (const Packet& packet : std::exchange(again.inbox, {}))
      handle(packet);
    if (!old_limits) return;
    bound_by(configs());
    again.set_limits(configs(), now_ns_);
    after_server(index);
  });
}

// These are in force from now on, for whoever grants.
void World::bound_by(const std::vector<lease::LimitConfig>& limits) {
  for (const lease::LimitConfig& limit : limits)
    set_bound(watch_of(lease::limit_id(limit.name)), {limit.rate, limit.burst});
}

void World::configure() {
  watches_.configure(configs(), 0);
  bound_by(configs());
  for (const auto& server : servers_)
    if (server->life == Server::Life::running) {
      server->set_limits(configs(), now_ns_);
      after_server(server->index());
    }
  check();
}

// What is admitted from now on is judged by the largest limit that was in force lately.
void World::set_bound(std::uint32_t limit, const Bound& bound) {
  Watch& watch = watches_[limit];
  const bool each = watch.config.threshold == lease::Threshold::per_host;
  if (each && bound == Bound{watch.config.rate, watch.config.burst} && now_ns_ > 0) return;
  if (watch.in_force.now() == bound && now_ns_ > 0) return;
  for (const auto& host : hosts_)
    host->advance(now_ns_);
  watches_.judge();
  watch.in_force.set(bound, now_ns_);
  watch.bound = watch.in_force.largest(now_ns_);
  watch.meter.set(watch.bound, now_ns_);
  watch.meter_all.set(watch.bound, now_ns_);
  measures_.disturb(limit);
  const TimeNs fall_ns = watch.in_force.next_fall_ns();
  if (fall_ns >= lease::kNever) return;
  later(fall_ns - now_ns_, [this, limit] {
    Watch& again = watches_[limit];
    for (const auto& host : hosts_)
      host->advance(now_ns_);
    watches_.judge();
    again.bound = again.in_force.largest(now_ns_);
    again.meter.set(again.bound, now_ns_);
    again.meter_all.set(again.bound, now_ns_);
    watches_.change_held(limit, 0, 0);
    parts_stale_ = true;
    check();
  });
}

}  // namespace weir::sim
