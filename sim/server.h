// A simulated token server: its clock, its book, and the connections that it answers on; and the
// store behind all servers, which remembers identities and says who is the owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lease/book.h"
#include "lease/random.h"
#include "sim/clock.h"
#include "sim/message.h"
#include "sim/oracle.h"

namespace weir::sim {

inline constexpr std::uint32_t kNobody = 0xffffffff;

// What outlives every server. With several servers it is the election, too.
struct Store {
  std::map<lease::Identity, bool> identities;
  std::uint64_t epoch = 0;
  std::uint32_t owner = kNobody;
  TimeNs owner_until_ns = 0;  // true time, which is the store's

  static constexpr TimeNs kOwnerTtlNs = 2 * lease::kSecond;
  static constexpr TimeNs kKeepaliveNs = 500 * lease::kMs;
};

struct ServerOptions {
  lease::BookOptions book;
  lease::BookMutants mutants;
  std::uint32_t busy = 0;  // parts of a thousand of the requests for which there is no time
  bool elected = false;    // several servers: what it may say ends with its election
};

class Server {
 public:
  enum class Life : std::uint8_t { running, frozen, down };

  Server(std::uint32_t index, ServerOptions options, Clock clock_of, std::uint64_t seed)
      : clock(clock_of), index_(index), options_(std::move(options)), random_(seed) {}

  // It is the owner now and makes a book. `sent` is when it asked for that.
  void begin(Store& store, const std::vector<lease::LimitConfig>& limits, bool learn,
             TimeNs sent_ns, TimeNs now_ns);
  void end();  // no owner any more: all its connections close
  void set_limits(const std::vector<lease::LimitConfig>& limits, TimeNs now_ns);

  // Answers are left in outbox.
  void handle(const Packet& packet, Store& store, TimeNs now_ns);
  void poll(Store& store, TimeNs now_ns);
  void renewed(TimeNs sent_ns);
  bool past_fence(TimeNs now_ns) const;

  const std::vector<lease::LimitConfig>& limits() const noexcept { return limits_; }
  bool owner() const noexcept { return book.has_value(); }
  std::uint32_t index() const noexcept { return index_; }
  // Hosts whose connection it has.
  const std::map<std::uint64_t, std::uint32_t>& connections() const { return connections_; }

  Clock clock;
  Life life = Life::running;
  bool store_cut = false;    // cannot reach the store
  bool silent = false;       // down, and nobody says so
  bool freeze_next = false;  // stops between its next decision and the sending of it
  std::uint64_t lives = 0;
  std::uint64_t freezes = 0;
  std::optional<lease::Book> book;
  std::vector<Packet> outbox;
  std::vector<Packet> inbox;                 // what came while it was frozen
  TimeNs learned_ns = 0;                     // how long the last learning took
  TimeNs learning_last_ns = -lease::kNever;  // when it was still learning, or stood still

 private:
  struct Connection {
    std::uint32_t host = 0;
    std::uint64_t number = 0;
  };
  void reply(const Packet& packet, Message message);
  void greet(const Packet& packet, const lease::Hello& hello, Store& store, TimeNs now_ns);
  void decide(const Packet& packet, const lease::Request& request, TimeNs now_ns);

  std::uint32_t index_;
  ServerOptions options_;
  lease::Random random_;
  std::unordered_map<lease::SessionId, Connection> sessions_;
  std::map<std::uint64_t, std::uint32_t> connections_;  // number to host
  std::vector<lease::LimitConfig> limits_;              // as it was told last
  TimeNs fence_ns_ = lease::kNever;
  lease::Book::Due due_;
};

}  // namespace weir::sim
