// Chunks granted a second by the real weir-server, over 64 real connections. The host on each asks
// for the next chunk of its keys, in one message, as soon as it has the last ones, which it returns
// as spent; but no oftener than a server lets one connection speak.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "bench/server_process.h"
#include "bench/store_bench.h"
#include "net/frame.h"
#include "net/lease_wire.h"
#include "server/wire_quota.h"

namespace weir::bench {
namespace {

constexpr std::size_t kConnections = 64;
constexpr lease::Units kNeed = 1;
constexpr std::int64_t kBetweenMessagesNs = 5'500'000;  // 200 a second is the most

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Key {
  std::string name;
  std::uint64_t seq = 0, gen = 0;
  lease::Units before = 0;
  bool asked = false;
};

struct Host {
  std::uint64_t number = 0;
  int fd = -1;
  net::FrameReader reader;
  std::uint64_t session = 0, ask_no = 0;
  std::vector<Key> keys;
  std::size_t asked = 0;
  std::int64_t sent_ns = 0;
  std::uint64_t granted = 0, refused = 0;

  bool send(const v1::ToServer& message) const {
    std::string frame;
    if (!net::append_frame(frame, message)) return false;
    for (std::size_t at = 0; at < frame.size();) {
      const ssize_t put = ::send(fd, frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
      if (put <= 0) return false;
      at += static_cast<std::size_t>(put);
    }
    return true;
  }
  bool hello() const {
    v1::ToServer message;
    v1::Hello& hello = *message.mutable_hello();
    hello.set_protocol_major(net::kProtocolMajor);
    hello.set_protocol_minor(net::kProtocolMinor);
    hello.set_namespace_name("bench");
    hello.set_host("host-" + std::to_string(number));
    hello.set_agent_epoch(number);
    hello.set_hello_no(1);
    return send(message);
  }
  bool may_ask(std::int64_t now) const {
    return session != 0 && asked == 0 && now >= sent_ns + kBetweenMessagesNs;
  }
  bool ask(std::int64_t now) {
    v1::ToServer message;
    message.mutable_quota_asks()->set_session(session);
    ++ask_no;
    for (Key& key : keys) {
      lease::QuotaAsk what;
      what.key = key.name;
      what.agent_epoch = number;
      what.ask_no = ask_no;
      what.seq = ++key.seq;
      what.done_seq = key.seq - 1;
      what.need = kNeed;
      what.per_s = 4;
      if (key.before > 0)
        what.chunks.push_back({key.seq - 1, key.gen, key.before, key.before, true});
      server::add_to_wire(what, *message.mutable_quota_asks());
      key.asked = true;
    }
    asked = keys.size();
    sent_ns = now;
    return send(message);
  }
  void hear(const lease::QuotaReply& reply) {
    for (Key& key : keys) {
      if (key.name != reply.key || key.seq != reply.seq || !key.asked) continue;
      key.asked = false;
      --asked;
      const bool got = reply.outcome == lease::QuotaOutcome::granted;
      got ? ++granted : ++refused;
      key.before = got ? reply.granted : 0;
      key.gen = reply.gen;
    }
  }
  // False when the connection is of no more use.
  bool readable() {
    char buffer[16384];
    const ssize_t got = ::recv(fd, buffer, sizeof(buffer), 0);
    if (got <= 0) return false;
    std::string_view bytes(buffer, static_cast<std::size_t>(got));
    while (const auto payload = reader.next(bytes)) {
      v1::ToAgent message;
      if (net::decode(*payload, message)) return false;
      if (message.has_refused()) {
        std::fprintf(stderr, "weir_store_bench: refused: %s\n", message.refused().text().c_str());
        return false;
      }
      if (message.has_welcome()) session = message.welcome().session();
      std::vector<lease::QuotaReply> replies;
      if (message.has_quota_replies() && !server::from_wire(message.quota_replies(), replies))
        return false;
      for (const lease::QuotaReply& reply : replies)
        hear(reply);
    }
    return !reader.failed();
  }
};

bool dial(Host& host, std::uint16_t port, const ServerProcess& server) {
  const sockaddr_in to = loopback(port);
  for (int tries = 0; tries < 500 && server.running(); ++tries) {
    host.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(host.fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) {
      const int on = 1;
      ::setsockopt(host.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return host.hello();
    }
    ::close(host.fd);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

std::uint64_t granted_by(const std::vector<Host>& hosts) {
  std::uint64_t sum = 0;
  for (const Host& host : hosts)
    sum += host.granted;
  return sum;
}

// One key for all, or so many for each.
struct Shape {
  const char* name;
  std::size_t keys_of_a_host;
  bool shared;
};

double grants_per_s(const std::string& directory, const Shape& shape, double seconds,
                    std::string& note) {
  std::filesystem::create_directories(directory);
  const ServerProcess server(directory, "      - {name: calls, total: 1000000000000, keys: any}\n");
  std::vector<Host> hosts(kConnections);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  bool good = true;
  for (std::size_t i = 0; i < hosts.size() && good; ++i) {
    hosts[i].number = i + 1;
    for (std::size_t key = 0; key < shape.keys_of_a_host; ++key)
      hosts[i].keys.push_back(
          {.name = lease::quota_key(
               "calls", std::to_string(shape.shared ? 0 : i * shape.keys_of_a_host + key))});
    good = dial(hosts[i], server.port(), server);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    if (good) good = ::epoll_ctl(epoll, EPOLL_CTL_ADD, hosts[i].fd, &event) == 0;
  }
  const auto drive = [&](double span_s) {
    const std::int64_t end = now_ns() + static_cast<std::int64_t>(span_s * 1e9);
    epoll_event events[kConnections];
    while (good && now_ns() < end) {
      const int count = ::epoll_wait(epoll, events, kConnections, 1);
      for (int i = 0; i < count && good; ++i)
        good = hosts[events[i].data.u64].readable();
      const std::int64_t now = now_ns();
      for (Host& host : hosts)
        if (good && host.may_ask(now)) good = host.ask(now);
    }
  };
  drive(1);  // all have said hello by then
  const std::uint64_t before = granted_by(hosts);
  const std::int64_t start = now_ns();
  drive(seconds);
  const double took = static_cast<double>(now_ns() - start) / 1e9;
  const std::uint64_t granted = granted_by(hosts) - before;
  std::uint64_t refused = 0;
  for (const Host& host : hosts) {
    refused += host.refused;
    if (host.fd >= 0) ::close(host.fd);
  }
  ::close(epoll);
  if (!good) std::fprintf(stderr, "weir_store_bench: the server ended a connection\n");
  note = "weir-server and its client on this machine, " + std::to_string(refused) + " refused";
  return good ? static_cast<double>(granted) / took : 0;
}

}  // namespace

std::vector<StoreRow> measure_grants_over_connections(const std::string& directory, bool quick) {
  constexpr Shape kShapes[] = {{"1_key", 1, true}, {"16_keys_each", 16, false}};
  std::vector<StoreRow> rows;
  for (const Shape& shape : kShapes) {
    StoreRow row;
    row.name = std::string("quota_grants/64_connections/") + shape.name;
    row.unit = "/s";
    row.bar = 5'000;
    row.value = grants_per_s(directory + "/" + shape.name, shape, quick ? 2.0 : 10.0, row.note);
    if (row.value == 0) return {};
    rows.push_back(row);
  }
  return rows;
}

}  // namespace weir::bench
