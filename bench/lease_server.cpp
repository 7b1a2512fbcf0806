// Heartbeats over real sockets: a token server and a bare echo, each on a thread of its own, take
// turns at being asked by the same client.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "bench/lease_bench.h"
#include "net/address.h"
#include "net/frame.h"
#include "net/lease_wire.h"
#include "rules/parse.h"
#include "server/token_server.h"
#include "server/wire.h"

namespace weir::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr int kConnections = 64;
constexpr int kLimits = 100;
constexpr std::size_t kVariants = 4;  // of a host's demand, in turn
constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kAnswerDeadlineNs = 2 * kSecondNs;

std::int64_t mono_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * kSecondNs + now.tv_nsec;
}
std::int64_t cpu_ns_of(clockid_t clock) {
  struct timespec now {};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * kSecondNs + now.tv_nsec;
}
void pin(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)::sched_setaffinity(0, sizeof(set), &set);
}
double quantile(std::vector<double> values, double which) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(which * static_cast<double>(values.size() - 1))];
}

// A thread with an event loop on CPU 0, and its CPU time as seen from outside.
class LoopThread {
 public:
  template <class Make>
  explicit LoopThread(Make make) {
    std::atomic<bool> ready{false};
    thread_ = std::thread([&, make] {
      pin(0);
      ::pthread_getcpuclockid(::pthread_self(), &clock_);
      const auto work = asio::make_work_guard(io_);
      const auto kept = make(io_);
      ready = true;
      io_.run();
    });
    while (!ready)
      std::this_thread::yield();
  }
  ~LoopThread() {
    io_.stop();
    thread_.join();
  }
  std::int64_t cpu_ns() const { return cpu_ns_of(clock_); }

 private:
  asio::io_context io_{1};
  clockid_t clock_ = 0;
  std::thread thread_;
};

// Reads `in` bytes, writes `out` bytes, for ever: what the kernel and Asio cost.
class Echo : public std::enable_shared_from_this<Echo> {
 public:
  Echo(tcp::socket socket, std::size_t in, std::size_t out)
      : socket_(std::move(socket)), in_(in), out_(out), buffer_(64 << 10), answer_(out, 'a') {
    boost::system::error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
  }
  void read() {
    socket_.async_read_some(
        asio::buffer(buffer_),
        [self = shared_from_this()](boost::system::error_code error, std::size_t bytes) {
          if (error) return;
          self->have_ += bytes;
          if (self->have_ < self->in_) {
            self->read();
            return;
          }
          self->have_ -= self->in_;
          self->write();
        });
  }

 private:
  void write() {
    asio::async_write(socket_, asio::buffer(answer_, out_),
                      [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                        if (!error) self->read();
                      });
  }
  tcp::socket socket_;
  std::size_t in_, out_;
  std::size_t have_ = 0;
  std::vector<char> buffer_;
  std::string answer_;
};

class EchoServer {
 public:
  EchoServer(asio::io_context& io, std::size_t in, std::size_t out)
      : acceptor_(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)), in_(in), out_(out) {
    accept();
  }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  void accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (error) return;
      std::make_shared<Echo>(std::move(socket), in_, out_)->read();
      accept();
    });
  }
  tcp::acceptor acceptor_;
  std::size_t in_, out_;
};

// One connection of the client: one heartbeat under way at a time.
struct Line {
  int fd = -1;
  std::vector<std::string> frames;  // of a token server: with places for session and numbers
  std::size_t variant = 0;
  std::uint64_t session = 0;
  std::uint64_t seq = 0;
  std::string in;
  std::size_t expected = 0;  // bytes of an answer; 0: frames, of which an answer is one kind
};

int dial(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) return -1;
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

bool send_all(int fd, const std::string& bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t put = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (put <= 0) return false;
    at += static_cast<std::size_t>(put);
  }
  return true;
}

std::string frame_of(const google::protobuf::MessageLite& message) {
  std::string frame;
  (void)net::append_frame(frame, message);
  return frame;
}

// A heartbeat of 100 limits. Session and numbers are fixed-width and come first, so that they can
// be written into the finished frame.
std::string heartbeat_frame(std::size_t variant) {
  lease::Request request{UINT64_MAX, UINT64_MAX, UINT64_MAX, {}};
  for (std::size_t i = 0; i < kLimits; ++i) {
    lease::Want want;
    want.limit = lease::limit_id("limit-" + std::to_string(i));
    want.rate = static_cast<lease::Micro>(60 + (i + variant) % kVariants) * lease::kToken;
    want.keep_rate = want.keep_burst = lease::kMicroMax;
    want.spent_total = 1'000'000 + variant;
    request.wants.push_back(want);
  }
  v1::ToServer message;
  server::to_wire(request, *message.mutable_request());
  return frame_of(message);
}
void patch(std::string& frame, std::uint64_t session, std::uint64_t seq) {
  constexpr std::size_t kNumberBytes = 9;  // a tag and eight bytes
  static const std::size_t kFirst = frame.find(std::string(8, '\xff'));
  const std::uint64_t accepted = seq - 1;
  std::memcpy(frame.data() + kFirst, &session, 8);
  std::memcpy(frame.data() + kFirst + kNumberBytes, &seq, 8);
  std::memcpy(frame.data() + kFirst + 2 * kNumberBytes, &accepted, 8);
}

// Drives the lines of one server.
class Driver {
 public:
  ~Driver() {
    for (const Line& line : lines_)
      if (line.fd >= 0) ::close(line.fd);
    if (epoll_ >= 0) ::close(epoll_);
  }

  // Against the token server: says hello on each and waits for the welcome.
  bool open_agents(std::uint16_t port) {
    for (int i = 0; i < kConnections; ++i) {
      Line line;
      line.fd = dial(port);
      if (line.fd < 0) return false;
      v1::ToServer message;
      v1::Hello& hello = *message.mutable_hello();
      hello.set_protocol_major(net::kProtocolMajor);
      hello.set_namespace_name("bench");
      hello.set_host("host-" + std::to_string(i));
      hello.set_agent_epoch(static_cast<std::uint64_t>(i) + 1);
      hello.set_hello_no(1);
      if (!send_all(line.fd, frame_of(message)) || !read_welcome(line)) return false;
      for (std::size_t variant = 0; variant < kVariants; ++variant)
        line.frames.push_back(heartbeat_frame(variant));
      lines_.push_back(std::move(line));
    }
    return watch();
  }
  bool open_echo(std::uint16_t port, std::size_t in, std::size_t out) {
    for (int i = 0; i < kConnections; ++i) {
      Line line;
      line.fd = dial(port);
      if (line.fd < 0) return false;
      line.frames.assign(1, std::string(in, 'r'));
      line.expected = out;
      lines_.push_back(std::move(line));
    }
    return watch();
  }

  // Heartbeats on all lines for so long; how many were answered. Nothing is under way afterwards.
  std::uint64_t run(std::int64_t slice_ns) {
    std::uint64_t answered = 0;
    int under_way = 0;
    for (Line& line : lines_)
      under_way += send_next(line) ? 1 : 0;
    const std::int64_t end = mono_ns() + slice_ns;
    epoll_event events[kConnections];
    while (under_way > 0) {
      // It never sleeps: waking a process of its own machine is no part of a server's work for
      // agents on others, and the slower server would pay it more often.
      const int count = ::epoll_wait(epoll_, events, kConnections, 0);
      const std::int64_t now = mono_ns();
      if (count < 0 || now > end + kAnswerDeadlineNs) return 0;
      const bool more = now < end;
      for (int i = 0; i < count; ++i) {
        Line& line = lines_[events[i].data.u32];
        if (!read_answer(line)) continue;
        ++answered;
        if (!more || !send_next(line)) --under_way;
      }
    }
    return answered;
  }
  std::size_t answer_bytes() const {
    return answer_bytes_total_ / std::max<std::size_t>(1, answers_);
  }

 private:
  bool watch() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      ::fcntl(lines_[i].fd, F_SETFL, O_NONBLOCK);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u32 = static_cast<std::uint32_t>(i);
      if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, lines_[i].fd, &event) != 0) return false;
    }
    return true;
  }
  bool read_welcome(Line& line) {
    char buffer[65536];
    net::FrameReader reader;
    for (;;) {
      const ssize_t got = ::recv(line.fd, buffer, sizeof(buffer), 0);
      if (got <= 0) return false;
      reader.push({buffer, static_cast<std::size_t>(got)});
      while (const auto payload = reader.next()) {
        v1::ToAgent message;
        if (net::decode(*payload, message)) return false;
        if (message.has_welcome()) line.session = message.welcome().session();
        if (message.has_rules() && !message.rules().more()) return line.session != 0;
      }
    }
  }
  bool send_next(Line& line) {
    std::string& frame = line.frames[line.variant];
    line.variant = (line.variant + 1) % line.frames.size();
    if (line.expected == 0) patch(frame, line.session, ++line.seq);
    return send_all(line.fd, frame);
  }
  // Whether a whole answer has come.
  bool read_answer(Line& line) {
    char buffer[65536];
    const ssize_t got = ::recv(line.fd, buffer, sizeof(buffer), 0);
    if (got <= 0) {
      std::fprintf(stderr, "bench: the server has closed a connection\n");
      std::exit(1);
    }
    line.in.append(buffer, static_cast<std::size_t>(got));
    if (line.expected != 0) {
      if (line.in.size() < line.expected) return false;
      line.in.clear();
      return true;
    }
    bool answered = false;
    while (line.in.size() >= net::kFrameHeaderBytes) {
      std::uint32_t length = 0;
      std::memcpy(&length, line.in.data(), sizeof(length));
      const std::size_t whole = net::kFrameHeaderBytes + length;
      if (line.in.size() < whole) break;
      constexpr char kAnswerTag = 0x12;
      if (line.in[net::kFrameHeaderBytes] == kAnswerTag) {
        answered = true;
        answer_bytes_total_ += whole;
        ++answers_;
      }
      line.in.erase(0, whole);
    }
    return answered;
  }

  std::vector<Line> lines_;
  int epoll_ = -1;
  std::size_t answer_bytes_total_ = 0;
  std::size_t answers_ = 0;
};

std::optional<ServerRules> bench_rules() {
  std::string text =
      "version: 1\nlisten: 127.0.0.1:0\nhttp: off\nlease: {ttl: 3s, tail: 0s}\n"
      "namespaces:\n  bench:\n    guard: 10M\n    limits:\n";
  for (int i = 0; i < kLimits; ++i)
    text += "      - {name: limit-" + std::to_string(i) + ", rate: 5k/s}\n";
  ServerParseResult parsed = parse_server_rules(text, "bench");
  if (!parsed.ok()) {
    std::fprintf(stderr, "bench: %s\n", to_string(parsed.problems.front()).c_str());
    return std::nullopt;
  }
  parsed.rules->state_dir.clear();
  return std::move(parsed.rules);
}

std::uint16_t port_of(const std::string& address) {
  const auto parsed = net::parse_address(address);
  return parsed ? parsed->port : 0;
}

}  // namespace

std::optional<LeaseRow> measure_lease_server(bool quick) {
  const auto rules = bench_rules();
  if (!rules) return std::nullopt;
  std::atomic<std::uint16_t> lease_port{0}, echo_port{0};
  LoopThread lease_thread([&](asio::io_context& io) {
    auto server = std::make_shared<server::TokenServer>(
        io, server::ServerOptions{
                .name = {}, .version = {}, .frames_per_s = 1'000'000, .reconnect_ns = 0});
    if (server->start(*rules)) lease_port = port_of(server->addresses().at(0));
    return server;
  });
  pin(1);
  Driver agents;
  if (lease_port == 0 || !agents.open_agents(lease_port)) {
    std::fprintf(stderr, "bench: no token server to measure\n");
    return std::nullopt;
  }
  agents.run(4 * kSecondNs);  // longer than the server learns
  const std::size_t in = heartbeat_frame(0).size();
  const std::size_t out = agents.answer_bytes();
  LoopThread echo_thread([&](asio::io_context& io) {
    auto server = std::make_shared<EchoServer>(io, in, out);
    echo_port = server->port();
    return server;
  });
  Driver echoes;
  if (!echoes.open_echo(echo_port, in, out)) return std::nullopt;
  echoes.run(kSecondNs / 4);

  std::vector<double> lease_ns, echo_ns, ratios;
  const int rounds = quick ? 15 : 61;
  const auto slice = [](Driver& driver, const LoopThread& thread) {
    const std::int64_t start = thread.cpu_ns();
    const std::uint64_t answered = driver.run(kSecondNs / 10);
    return answered == 0
               ? 0.0
               : static_cast<double>(thread.cpu_ns() - start) / static_cast<double>(answered);
  };
  for (int i = 0; i < rounds; ++i) {
    double a = 0;
    if (i % 2 == 0) a = slice(agents, lease_thread);
    const double b = slice(echoes, echo_thread);
    if (i % 2 != 0) a = slice(agents, lease_thread);
    if (a == 0 || b == 0) continue;
    lease_ns.push_back(a);
    echo_ns.push_back(b);
    ratios.push_back(b / a);
  }
  if (ratios.empty()) {
    std::fprintf(stderr, "bench: no answers\n");
    return std::nullopt;
  }
  LeaseRow row;
  row.name = "lease_server/64c";
  row.floor = "echo on Asio";
  row.ns_median = quantile(lease_ns, 0.5);
  row.floor_ns_median = quantile(echo_ns, 0.5);
  row.ratio = quantile(ratios, 0.5);
  row.ratio_p10 = quantile(ratios, 0.1);
  row.ratio_p90 = quantile(ratios, 0.9);
  row.bar = 0.5;
  char note[96];
  std::snprintf(note, sizeof(note), "%zu bytes in, %zu out; %.0f heartbeats a second and core", in,
                out, 1e9 / row.ns_median);
  row.note = note;
  return row;
}

}  // namespace weir::bench
