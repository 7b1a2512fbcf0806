#include "sim/network.h"

#include <algorithm>

namespace weir::sim {

void Network::set_size(std::size_t hosts, std::size_t servers) {
  servers_ = servers;
  ways_.resize(hosts * servers * 2);
}

Network::Way& Network::way(std::uint32_t host, std::uint32_t server, bool to_server) {
  return ways_[(host * servers_ + server) * 2 + (to_server ? 1 : 0)];
}

bool Network::happens(std::uint32_t per_mille) {
  return per_mille > 0 && random_.next() % 1000 < per_mille;
}

TimeNs Network::delay() {
  return extra_delay_ns + random_.between(options.delay_least_ns, options.delay_most_ns);
}

Network::Arrivals Network::send(std::uint32_t host, std::uint32_t server, bool to_server,
                                TimeNs now_ns) {
  Arrivals arrivals;
  Way& to = way(host, server, to_server);
  if (to.cuts > 0 || happens(options.lost + extra_lost)) return arrivals;
  const std::size_t copies = happens(options.doubled) ? 2 : 1;
  for (std::size_t i = 0; i < copies; ++i) {
    TimeNs at_ns = now_ns + delay();
    if (happens(options.slow)) at_ns += random_.between(50 * lease::kMs, options.slow_most_ns);
    const bool late = happens(options.late);
    if (late) at_ns += random_.between(lease::kSecond, options.late_most_ns);
    // A double goes its own way, and so does what overtakes or is late; all others wait in line.
    if (i == 0 && !late && !happens(options.overtaking))
      at_ns = to.last_ns = std::max(at_ns, to.last_ns + 1);
    arrivals.at_ns[arrivals.count++] = at_ns;
  }
  return arrivals;
}

void Network::cut(std::uint32_t host, std::uint32_t server, bool to_server, bool to_host) {
  if (to_server) ++way(host, server, true).cuts;
  if (to_host) ++way(host, server, false).cuts;
}

void Network::mend(std::uint32_t host, std::uint32_t server, bool to_server, bool to_host) {
  if (to_server) --way(host, server, true).cuts;
  if (to_host) --way(host, server, false).cuts;
}

bool Network::reaches(std::uint32_t host, std::uint32_t server) const {
  const std::size_t at = (host * servers_ + server) * 2;
  return ways_[at].cuts == 0 && ways_[at + 1].cuts == 0;
}

}  // namespace weir::sim
