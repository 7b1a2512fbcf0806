// Several token servers on a real etcd, and lines between them that a test can cut.
#pragma once

#include <poll.h>

#include <csignal>
#include <cstdlib>

#include "tests/support/etcd.h"
#include "tests/system/cluster_support.h"

namespace weir::test {

// Passes TCP connections on; when it is cut, nothing arrives and nobody is told, as when a cable is
// pulled.
class Proxy {
 public:
  explicit Proxy(std::uint16_t to) : to_(to) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t bytes = sizeof(address);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<struct sockaddr*>(&address), bytes), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<struct sockaddr*>(&address), &bytes), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Proxy() {
    stopped_ = true;
    thread_.join();
    for (const Pair& pair : pairs_) {
      ::close(pair.near);
      ::close(pair.far);
    }
    ::close(listener_);
  }
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  std::uint16_t port() const { return port_; }
  void cut(bool how) { cut_ = how; }

 private:
  struct Pair {
    int near = -1, far = -1;
  };
  static struct sockaddr_in loopback(std::uint16_t port) {
    struct sockaddr_in address {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }
  static bool pass(int from, int to) {
    char buffer[65536];
    const ssize_t got = ::recv(from, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    for (ssize_t at = 0; at < got;) {
      const ssize_t put = ::send(to, buffer + at, static_cast<std::size_t>(got - at), MSG_NOSIGNAL);
      if (put <= 0) return false;
      at += put;
    }
    return true;
  }
  void accept_one() {
    const int near = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (near < 0) return;
    const int far = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in address = loopback(to_);
    if (::connect(far, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) != 0) {
      ::close(near);
      ::close(far);
      return;
    }
    pairs_.push_back({near, far});
  }
  void run() {
    while (!stopped_) {
      std::vector<struct pollfd> fds;
      if (!cut_) {
        fds.push_back({listener_, POLLIN, 0});
        for (const Pair& pair : pairs_) {
          fds.push_back({pair.near, POLLIN, 0});
          fds.push_back({pair.far, POLLIN, 0});
        }
      }
      if (::poll(fds.data(), fds.size(), 20) <= 0 || cut_) continue;
      std::vector<Pair> kept;
      for (std::size_t i = 0; i < pairs_.size(); ++i) {
        const Pair pair = pairs_[i];
        const bool good = (fds[1 + 2 * i].revents == 0 || pass(pair.near, pair.far)) &&
                          (fds[2 + 2 * i].revents == 0 || pass(pair.far, pair.near));
        if (good) {
          kept.push_back(pair);
        } else {
          ::close(pair.near);
          ::close(pair.far);
        }
      }
      const bool more = fds[0].revents != 0;
      pairs_ = std::move(kept);
      if (more) accept_one();
    }
  }

  const std::uint16_t to_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::vector<Pair> pairs_;
  std::atomic<bool> cut_{false}, stopped_{false};
  std::thread thread_;
};

// Three members, three servers, and as many agents as the test wants.
class HaTest : public ::testing::Test {
 protected:
  static constexpr int kServers = 3;
  static constexpr OracleRule kRule{300, 1'000'000'000, 300};

  void SetUp() override {
    if (const std::string why = etcd_missing(); !why.empty()) GTEST_SKIP() << why;
    etcd_ = std::make_unique<EtcdCluster>(3);
    for (int i = 0; i < kServers; ++i) {
      ports_.push_back(free_port());
      fronts_.push_back(std::make_unique<Proxy>(ports_.back()));
      for (const std::string& endpoint : etcd_->endpoints())
        backs_[i].push_back(std::make_unique<Proxy>(
            static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)))));
      write_file(i);
      servers_.push_back(start(i));
    }
  }
  void TearDown() override {
    demands_.clear();
    if (std::getenv("WEIR_TEST_SHOW_LOG") == nullptr) return;
    for (int i = 0; i < static_cast<int>(servers_.size()); ++i)
      std::fprintf(stderr, "---- %s\n%s", name(i).c_str(), log(i).c_str());
    for (const auto& agent : agents_)
      std::fprintf(stderr, "---- agent\n%s", agent->log().c_str());
  }

  static std::string name(int i) { return "s" + std::to_string(i); }
  std::string log(int i) const { return read_text(place_ / (name(i) + ".log")); }
  Process& server(int i) { return servers_.at(static_cast<std::size_t>(i)); }
  std::string front(int i) const {
    const auto at = static_cast<std::size_t>(i);
    return "127.0.0.1:" + std::to_string(direct_ ? ports_.at(at) : fronts_.at(at)->port());
  }
  // Nothing of this server reaches etcd, and nothing comes back.
  void cut_from_etcd(int i, bool how) {
    for (const auto& proxy : backs_[i])
      proxy->cut(how);
  }

  std::string etcd_section(int i) const {
    std::string endpoints;
    for (const auto& proxy : backs_.at(i))
      endpoints += (endpoints.empty() ? "" : ", ") + ("127.0.0.1:" + std::to_string(proxy->port()));
    return "etcd: {endpoints: [" + endpoints + "], advertise: \"" + front(i) +
           "\", rebalance: off" + more_etcd_ + "}\n";
  }
  void write_file(int i) {
    std::string text =
        "version: 1\nlisten: 127.0.0.1:" + std::to_string(ports_.at(static_cast<std::size_t>(i))) +
        "\nhttp: off\nstate_dir: " + (place_ / name(i)) + "\n" + etcd_section(i);
    if (rules_in_files_)
      text += "namespaces: {default: {" + more_namespace_ +
              "limits: [{name: /t, rate: 300/s, burst: 300}]}}\n";
    text += more_file_;
    write_text(place_ / (name(i) + ".yaml"), text);
  }
  Process start(int i, const std::string& called = {}) {
    SpawnOptions options;
    options.argv = {WEIR_BINARY_DIR "/bin/weir-server", "--config", place_ / (name(i) + ".yaml"),
                    "--name", called.empty() ? name(i) : called};
    options.output = place_ / (name(i) + ".log");
    return Process::spawn(options);
  }

  struct Owner {
    int server = -1;
    std::int64_t revision = 0;  // that created the key: the term
  };
  Owner owner() const {
    const std::string text = etcd_->ctl("get /weir/cluster/owner/default -w fields");
    Owner found;
    const std::string created = "\"CreateRevision\" : ";
    if (const auto at = text.find(created); at != std::string::npos)
      found.revision = std::strtoll(text.c_str() + at + created.size(), nullptr, 10);
    const std::string value = "\"Value\" : \"s";
    if (const auto at = text.find(value); at != std::string::npos)
      found.server = text[at + value.size()] - '0';
    return found;
  }
  Owner await_owner(std::int64_t after = 0) const {
    Owner found;
    eventually([&] {
      found = owner();
      return found.server >= 0 && found.revision > after;
    });
    return found;
  }
  // Of its log: how often this is said.
  int said(int i, const std::string& words) const {
    const std::string text = log(i);
    int count = 0;
    for (std::size_t at = 0; (at = text.find(words, at)) != std::string::npos; ++at)
      ++count;
    return count;
  }
  int terms(int i) const { return said(i, "ours from now on"); }

  std::string all_servers() const {
    std::string list = "[";
    for (int i = 0; i < kServers; ++i)
      list += (i == 0 ? "" : ", ") + ("\"" + front(i) + "\"");
    return list + "]";
  }
  // Agents that know all servers, and demand at each.
  void begin(std::initializer_list<double> wants) {
    for (std::size_t k = 0; k < wants.size(); ++k) {
      const std::string host(1, static_cast<char>('a' + k));
      agents_.push_back(
          std::make_unique<Agent>(AgentOptions{.rules = rules_at(all_servers(), host)}));
      ASSERT_TRUE(agents_.back()->start());
    }
    for (const auto& agent : agents_) {
      ASSERT_TRUE(wait_answering(*agent)) << agent->log() << log(0);
      ASSERT_TRUE(eventually([&] { return agent->limit("/t").has_value(); }));
    }
    std::size_t i = 0;
    for (const double want : wants)
      demands_.push_back(std::make_unique<Demand>(*agents_[i++], want));
    ASSERT_TRUE(eventually([&] { return served_since(0); }));
    ASSERT_TRUE(eventually([&] {
      return std::all_of(demands_.begin(), demands_.end(),
                         [](const auto& demand) { return demand->admitted() >= 20; });
    }));
  }

  // All hosts have heard a server of a later epoch, have had an answer since mark(), and hold a
  // lease that is in force.
  bool served_since(std::uint64_t epoch) const {
    for (const auto& agent : agents_) {
      const v1::UpstreamStatus upstream = agent->status().upstream();
      const auto before = answers_.find(agent.get());
      if (!upstream.answering() || upstream.epoch() <= epoch ||
          upstream.ok_total() <= (before == answers_.end() ? 0 : before->second))
        return false;
      const auto limit = agent->limit("/t");
      if (!limit || limit->lease().state() != "live") return false;
    }
    return true;
  }
  void mark() {
    for (const auto& agent : agents_)
      answers_[agent.get()] = agent->status().upstream().ok_total();
  }
  std::uint64_t epoch() const {
    std::uint64_t highest = 0;
    for (const auto& agent : agents_)
      highest = std::max<std::uint64_t>(highest, agent->status().upstream().epoch());
    return highest;
  }
  // Milliseconds until everybody is served by a later epoch; -1: not within the patience.
  double await_take_over(std::uint64_t epoch) {
    const std::int64_t start_ns = now_ns();
    mark();
    if (!eventually([&] { return served_since(epoch); })) return -1;
    return static_cast<double>(now_ns() - start_ns) / 1e6;
  }
  void expect_bound_kept(const std::string& what) { expect_cluster_bound(demands_, kRule, what); }

  TempDir place_;
  std::unique_ptr<EtcdCluster> etcd_;
  bool rules_in_files_ = true;
  bool direct_ = false;  // agents speak to the servers themselves, not to proxies
  std::string more_etcd_, more_namespace_, more_file_;
  std::vector<std::uint16_t> ports_;
  std::vector<std::unique_ptr<Proxy>> fronts_;
  std::map<int, std::vector<std::unique_ptr<Proxy>>> backs_;
  std::vector<Process> servers_;
  std::vector<std::unique_ptr<Agent>> agents_;
  std::vector<std::unique_ptr<Demand>> demands_;
  std::map<const Agent*, std::uint64_t> answers_;
};

}  // namespace weir::test
