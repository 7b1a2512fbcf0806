// The way of a message: how long it takes, whether it is lost, doubled, overtaken or very late, and
// who cannot reach whom.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lease/random.h"
#include "lease/units.h"

namespace weir::sim {

using lease::TimeNs;

struct NetworkOptions {
  TimeNs delay_least_ns = 300'000;
  TimeNs delay_most_ns = 1'200'000;
  // Parts of a thousand, of single messages.
  std::uint32_t lost = 0;
  std::uint32_t doubled = 0;
  std::uint32_t overtaking = 0;  // does not wait for those before it
  std::uint32_t slow = 0;        // takes up to slow_most
  std::uint32_t late = 0;        // takes up to late_most, longer than any lease
  TimeNs slow_most_ns = 800 * lease::kMs;
  TimeNs late_most_ns = 12 * lease::kSecond;
};

class Network {
 public:
  Network(const NetworkOptions& network, std::uint64_t seed) : options(network), random_(seed) {}

  void set_size(std::size_t hosts, std::size_t servers);
  // When a message that is sent now arrives: never, once, or twice.
  struct Arrivals {
    std::array<TimeNs, 2> at_ns{};
    std::size_t count = 0;
  };
  Arrivals send(std::uint32_t host, std::uint32_t server, bool to_server, TimeNs now_ns);

  // Cuts nest: each needs its own mending.
  void cut(std::uint32_t host, std::uint32_t server, bool to_server, bool to_host);
  void mend(std::uint32_t host, std::uint32_t server, bool to_server, bool to_host);
  bool reaches(std::uint32_t host, std::uint32_t server) const;
  TimeNs delay();

  NetworkOptions options;
  TimeNs extra_delay_ns = 0;     // of every message, for a while
  std::uint32_t extra_lost = 0;  // parts of a thousand, for a while

 private:
  struct Way {
    std::uint16_t cuts = 0;
    TimeNs last_ns = 0;  // what is sent later arrives later, on one connection
  };
  Way& way(std::uint32_t host, std::uint32_t server, bool to_server);
  bool happens(std::uint32_t per_mille);

  lease::Random random_;
  std::size_t servers_ = 0;
  std::vector<Way> ways_;
};

}  // namespace weir::sim
