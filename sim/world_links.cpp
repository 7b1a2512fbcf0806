// Who talks to whom: connections, messages, and what they set going.
#include <algorithm>
#include <utility>

#include "sim/world.h"

namespace weir::sim {
namespace {

constexpr TimeNs kBackOffFirstNs = 100 * lease::kMs;
constexpr TimeNs kBackOffMostNs = 5 * lease::kSecond;
// A connection on which nothing is answered for so long is given up.
constexpr TimeNs kSilenceNs = 3 * lease::kSecond;

}  // namespace

void World::plan_wake(std::uint32_t index) {
  Host& host = *hosts_[index];
  const TimeNs at_ns = host.next_wake_ns(now_ns_);
  if (at_ns >= host.planned_wake_ns) return;
  host.planned_wake_ns = at_ns;
  events_.push(at_ns, EventKind::wake, index, ++host.wake_number);
}

void World::wake(std::uint32_t index) {
  Host& host = *hosts_[index];
  host.planned_wake_ns = lease::kNever;
  const TimeNs patience_ns = std::max(kSilenceNs, 3 * host.desk().refresh_ns());
  if (links_[index].up && host.life() == Life::running &&
      now_ns_ - host.in_flight_since_ns() > patience_ns) {
    drop_link(index, true);
    links_[index].server = (links_[index].server + 1) % setup_.servers;
    plan_connect(index, random_.between(0, kBackOffFirstNs));
  }
  host.wake(now_ns_);
  after_host(index);
}

void World::after_host(std::uint32_t index) {
  Host& host = *hosts_[index];
  if (host.wants_other_server) {
    host.wants_other_server = false;
    drop_link(index, true);
    links_[index].server = (links_[index].server + 1) % setup_.servers;
    plan_connect(index, random_.between(0, 2 * kBackOffFirstNs));
  }
  for (Message& message : host.outbox)
    if (links_[index].up) send(to_server(index, std::move(message)));
  host.outbox.clear();
  for (const std::uint32_t limit : host.changed)
    measures_.held(index, limit, host.held(limit, now_ns_).rate, now_ns_);
  host.changed.clear();
  look_for_copies(index);
  plan_wake(index);
  check();
}

// With a new identity it is one of its own; the way to that is that it dropped everything.
// Otherwise it is so when the server that last knew both has taken it for the one. A later server
// cannot know that what is claimed was given up since by the other one; only when that server's
// learning is over is all that hosts hold known again.
void World::look_for_copies(std::uint32_t index) {
  Host& host = *hosts_[index];
  if (!host.copy()) return;
  const bool renamed = host.desk().agent_epoch() != host.copied_identity();
  const TimeNs since_ns = now_ns_ - links_[index].welcome_ns;
  const bool known =
      host.desk().server_epoch() == host.copied_epoch() || since_ns > memory_of(setup_);
  const bool welcome = host.desk().session() != 0 &&
                       host.desk().session() == links_[index].welcome && heard_last(index);
  if (!renamed && !(welcome && known)) return;
  host.set_copy(false, now_ns_);
  if (traced()) say("host " + std::to_string(index) + " counts as itself");
}

bool World::heard_last(std::uint32_t index) const {
  const std::vector<std::uint32_t>& group = copies_[original_[index]];
  return std::none_of(group.begin(), group.end(), [&](std::uint32_t other) {
    return same_identity(index, other) && links_[other].heard > links_[index].heard;
  });
}

bool World::same_identity(std::uint32_t a, std::uint32_t b) const {
  return hosts_[a]->life() != Life::off && hosts_[b]->life() != Life::off &&
         hosts_[a]->desk().agent_epoch() == hosts_[b]->desk().agent_epoch();
}

// A server has taken this host for the one with its identity, and gives what only the others of
// that identity hold to somebody else. This one counts as soon as it knows what the server made
// of its claims.
void World::heard_of(std::uint32_t index) {
  links_[index].heard = ++heard_;
  links_[index].welcome = 0;
  links_[index].asked = false;
  for (const std::uint32_t member : copies_[original_[index]])
    if (member != index && same_identity(member, index)) {
      // Each copy may take the place of one that had asked for more in its session, once.
      if (links_[member].asked && ++takeovers_[original_[index]] > copies_made_[original_[index]])
        return;
      links_[member].asked = false;
      hosts_[member]->set_copy(true, now_ns_);
      links_[member].welcome = 0;
      hosts_[index]->set_copy(true, now_ns_);
    }
}

Packet World::to_server(std::uint32_t index, Message message) const {
  const Link& link = links_[index];
  return {std::move(message), index, link.server, link.number, link.life, true};
}

void World::send(Packet packet) {
  ++messages_;
  const Network::Arrivals arrivals =
      network_.send(packet.host, packet.server, packet.to_server, now_ns_);
  if (traced())
    say(std::string(packet.to_server ? "  host " : "server ") +
        std::to_string(packet.to_server ? packet.host : packet.server) + " says " +
        describe(packet.message) + (packet.to_server ? " to server " : " to host ") +
        std::to_string(packet.to_server ? packet.server : packet.host) +
        (arrivals.count == 0 ? " (lost)" : ""));
  for (std::size_t i = 0; i < arrivals.count; ++i) {
    std::uint32_t place = 0;
    if (free_packets_.empty()) {
      place = static_cast<std::uint32_t>(packets_.size());
      packets_.emplace_back();
    } else {
      place = free_packets_.back();
      free_packets_.pop_back();
    }
    if (i + 1 < arrivals.count)
      packets_[place] = packet;
    else
      packets_[place] = std::move(packet);
    events_.push(arrivals.at_ns[i], EventKind::deliver, place);
  }
}

void World::arrive(std::uint32_t place) {
  Packet packet = std::move(packets_[place]);
  free_packets_.push_back(place);
  if (packet.to_server)
    arrive_at_server(packet);
  else
    arrive_at_host(packet);
}

void World::arrive_at_host(Packet& packet) {
  Link& link = links_[packet.host];
  Host& host = *hosts_[packet.host];
  if (!link.up || link.number != packet.connection) return;
  if (host.life() == Life::off || host.life() == Life::dead) return;
  if (host.life() != Life::running) {
    link.inbox.push_back(std::move(packet.message));
    return;
  }
  if (std::holds_alternative<Closed>(packet.message)) {
    drop_link(packet.host, false);
    plan_connect(packet.host, random_.between(0, kBackOffFirstNs));
  } else {
    host.deliver(packet.message, now_ns_);
    link.back_off_ns = 0;
    if (const auto* welcome = std::get_if<lease::Welcome>(&packet.message))
      if (welcome->session == host.desk().session() && link.welcome != welcome->session) {
        link.welcome = welcome->session;
        link.welcome_ns = now_ns_;
      }
  }
  after_host(packet.host);
}

void World::arrive_at_server(Packet& packet) {
  Server& server = *servers_[packet.server];
  if (server.life == Server::Life::down || packet.life != server.lives) {
    if (!server.silent || server.life != Server::Life::down)
      send({Closed{}, packet.host, packet.server, packet.connection, packet.life, false});
    return;
  }
  if (server.life == Server::Life::frozen) {
    server.inbox.push_back(std::move(packet));
    return;
  }
  handle(packet);
}

void World::handle(const Packet& packet) {
  Server& server = *servers_[packet.server];
  server.handle(packet, store_, now_ns_);
  if (!server.outbox.empty()) {
    const Message& reply = server.outbox.back().message;
    if (const auto* welcome = std::get_if<lease::Welcome>(&reply))
      if (welcome->session != 0) heard_of(packet.host);
    if (std::holds_alternative<lease::Answer>(reply)) links_[packet.host].asked = true;
  }
  after_server(packet.server);
}

void World::after_server(std::uint32_t index) {
  Server& server = *servers_[index];
  parts_stale_ = true;
  if (server.freeze_next) {
    // It was stopped between deciding and sending.
    server.freeze_next = false;
    server.life = Server::Life::frozen;
    return;
  }
  for (Packet& packet : server.outbox)
    send(std::move(packet));
  server.outbox.clear();
  check();
}

void World::poll(std::uint32_t index) {
  Server& server = *servers_[index];
  if (server.life != Server::Life::running || !server.owner()) return;
  const bool learning = server.book->learning();
  server.poll(store_, now_ns_);
  if (learning && server.owner() && !server.book->learning())
    learnings_.push_back(static_cast<double>(server.learned_ns) / 1e9);
  after_server(index);
}

void World::plan_connect(std::uint32_t index, TimeNs in_ns) {
  Link& link = links_[index];
  link.number = ++connections_;
  const TimeNs round_trip_ns = network_.delay() + network_.delay();
  events_.push(now_ns_ + in_ns + round_trip_ns, EventKind::connect, index, link.number);
}

void World::connect(std::uint32_t index) {
  Link& link = links_[index];
  Host& host = *hosts_[index];
  if (link.up || host.life() != Life::running) return;
  const Server& server = *servers_[link.server];
  const bool there = network_.reaches(index, link.server) && server.life != Server::Life::down;
  // A frozen process still has a kernel that accepts for it.
  if (there && (server.life == Server::Life::frozen || server.owner())) {
    link.up = true;
    link.life = server.lives;
    host.link_up(now_ns_);
    after_host(index);
    return;
  }
  if (there && !server.store_cut && store_.owner != kNobody && store_.owner != link.server) {
    link.server = store_.owner;
    plan_connect(index, 0);
    return;
  }
  link.server = (link.server + 1) % setup_.servers;
  link.back_off_ns = std::clamp(2 * link.back_off_ns, kBackOffFirstNs, kBackOffMostNs);
  plan_connect(index, random_.between(link.back_off_ns / 2, link.back_off_ns));
}

void World::drop_link(std::uint32_t index, bool tell_server) {
  Link& link = links_[index];
  if (link.up && tell_server) send(to_server(index, Closed{}));
  link.up = false;
  link.number = 0;
  link.inbox.clear();
  hosts_[index]->link_down(now_ns_);
}

// What servers may hand out themselves counts as held. A server that may not speak any more holds
// nothing, whatever its book says.
void World::update_server_parts() {
  parts_stale_ = false;
  parts_.assign(watches_.size(), Bound{});
  for (const auto& server : servers_) {
    if (!server->owner() || server->life == Server::Life::down || server->past_fence(now_ns_))
      continue;
    // What stands still hands nothing out; when it goes on, the limits that it knows count again.
    if (server->life == Server::Life::frozen) continue;
    if (server->book->learning()) server->learning_last_ns = now_ns_;
    server->book->sums(sums_);
    for (std::uint32_t place = 0; place < sums_.size(); ++place) {
      const lease::Book::Sums& report = sums_[place];
      // Books name limits in the order of the rules, unless those have changed.
      const bool in_order = place < watches_.size() && watches_[place].id == report.id;
      const std::uint32_t limit = in_order ? place : watch_of(report.id);
      Watch& watch = watches_[limit];
      if (watch.config.threshold == lease::Threshold::per_host)
        set_bound(limit, {report.rate, report.burst});
      const Bound counted{report.leased_rate + (watch.leaf ? report.server_rate : 0),
                          report.leased_burst + (watch.leaf ? report.server_burst : 0)};
      // Claims count in full, even those that a hello or a request made long ago and that have
      // ended since. They come while it learns, and in what waited while it stood still.
      const bool over = counted.rate > watch.bound.rate || counted.burst > watch.bound.burst;
      if (over && now_ns_ - server->learning_last_ns > memory_of(setup_))
        violate("the book counts more than the limit", watch,
                static_cast<double>(
                    std::max(counted.rate - watch.bound.rate, counted.burst - watch.bound.burst)) /
                    1e6);
      if (!watch.leaf) continue;
      for (std::uint32_t at = limit; at != lease::kNone; at = watches_[at].parent) {
        parts_[at].rate += report.server_rate;
        parts_[at].burst += report.server_burst;
      }
    }
  }
  for (std::uint32_t limit = 0; limit < watches_.size(); ++limit) {
    watches_[limit].held.set_server(parts_[limit]);
    watches_.change_held(limit, 0, 0);
  }
}

}  // namespace weir::sim
