#include "sim/server.h"

#include <algorithm>
#include <string>

namespace weir::sim {
namespace {

// The secret that all servers share, so that the next one believes what this one gave.
std::uint64_t prove(const lease::Identity& identity, lease::LimitId limit,
                    const lease::Terms& terms) {
  std::uint64_t sum = lease::mix(identity.agent_epoch, lease::limit_id(identity.host));
  sum = lease::mix(sum, limit);
  for (const Micro part : {terms.rate, terms.burst, terms.tail_rate, terms.tail_burst})
    sum = lease::mix(sum, static_cast<std::uint64_t>(part));
  return lease::mix(sum, 0x7072'6f6f'66ULL);
}

}  // namespace

void Server::begin(Store& store, const std::vector<lease::LimitConfig>& limits, bool learn,
                   TimeNs sent_ns, TimeNs now_ns) {
  lease::BookOptions options = options_.book;
  options.epoch = ++store.epoch;
  options.learn = learn;
  options.prove = prove;
  for (const auto& [identity, known] : store.identities)
    options.known.push_back(identity);
  ++lives;
  sessions_.clear();
  connections_.clear();
  book.emplace(std::move(options), clock.local(now_ns));
  book->mutants = options_.mutants;
  set_limits(limits, now_ns);
  learned_ns = now_ns;
  renewed(sent_ns);
}

void Server::end() {
  for (const auto& [number, host] : connections_)
    outbox.push_back({Closed{}, host, index_, number, lives, false});
  connections_.clear();
  sessions_.clear();
  book.reset();
}

void Server::set_limits(const std::vector<lease::LimitConfig>& limits, TimeNs now_ns) {
  std::string why;
  limits_ = limits;
  if (book) book->set_limits(limits, clock.local(now_ns), why);
}

// The election was confirmed by an answer to what was sent then.
void Server::renewed(TimeNs sent_ns) {
  if (!options_.elected || !book) return;
  fence_ns_ = clock.local(sent_ns) + lease::shortened(Store::kOwnerTtlNs);
  book->set_fence(fence_ns_);
}

bool Server::past_fence(TimeNs now_ns) const {
  return options_.elected && !options_.mutants.no_fence && clock.local(now_ns) >= fence_ns_;
}

void Server::reply(const Packet& packet, Message message) {
  outbox.push_back({std::move(message), packet.host, index_, packet.connection, lives, false});
}

void Server::greet(const Packet& packet, const lease::Hello& hello, Store& store, TimeNs now_ns) {
  connections_[packet.connection] = packet.host;
  const auto greeting = book->hello(hello, clock.local(now_ns));
  if (!greeting) return;
  if (greeting->remember || greeting->mark) {
    // The store refuses who is not the owner any more; then nothing may be answered.
    if (store_cut || (options_.elected && store.owner != index_)) return;
    if (greeting->remember) store.identities[{hello.host, hello.agent_epoch}] = true;
    if (greeting->mark) store.identities[*greeting->mark] = true;
    if (greeting->unmark) store.identities.erase(*greeting->unmark);
  }
  if (greeting->welcome.session != 0)
    sessions_[greeting->welcome.session] = {packet.host, packet.connection};
  reply(packet, greeting->welcome);
}

void Server::decide(const Packet& packet, const lease::Request& request, TimeNs now_ns) {
  const TimeNs local_ns = clock.local(now_ns);
  const bool busy = options_.busy > 0 && random_.next() % 1000 < options_.busy;
  const lease::Answer* answer =
      busy ? book->busy(request, local_ns) : book->request(request, local_ns);
  if (answer != nullptr) {
    reply(packet, *answer);
  } else if (!book->knows(request.session)) {
    // It was overtaken by a newer hello, or has run out: the host must say hello again.
    connections_.erase(packet.connection);
    reply(packet, Closed{});
  }
}

void Server::handle(const Packet& packet, Store& store, TimeNs now_ns) {
  if (!book) {
    reply(packet, Closed{});
    return;
  }
  if (const auto* hello = std::get_if<lease::Hello>(&packet.message))
    greet(packet, *hello, store, now_ns);
  else if (const auto* request = std::get_if<lease::Request>(&packet.message))
    decide(packet, *request, now_ns);
  else if (const auto* ack = std::get_if<lease::Ack>(&packet.message))
    book->ack(*ack, clock.local(now_ns));
  else if (const auto* goodbye = std::get_if<lease::Goodbye>(&packet.message))
    book->goodbye(*goodbye, clock.local(now_ns));
  else if (std::holds_alternative<Closed>(packet.message))
    connections_.erase(packet.connection);
}

void Server::poll(Store& store, TimeNs now_ns) {
  if (!book) return;
  if (past_fence(now_ns)) {
    end();
    return;
  }
  const bool learning = book->learning();
  book->poll(clock.local(now_ns), due_);
  if (learning && !book->learning()) learned_ns = now_ns - learned_ns;
  for (const lease::SessionId session : due_.poke)
    if (const auto found = sessions_.find(session); found != sessions_.end()) {
      // In place: g++ 12 takes a temporary with a variant in it for uninitialised.
      Packet& poke = outbox.emplace_back();
      poke.message.emplace<lease::Poke>(lease::Poke{session});
      poke.host = found->second.host;
      poke.server = index_;
      poke.connection = found->second.number;
      poke.life = lives;
      poke.to_server = false;
    }
  if (!options_.elected || store.owner == index_)
    for (const lease::Identity& identity : due_.forgotten)
      store.identities.erase(identity);
}

}  // namespace weir::sim
