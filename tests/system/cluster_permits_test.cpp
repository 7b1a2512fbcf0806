// A concurrency limit of a whole cluster: real processes on three agents enter and leave at random
// while clients, an agent and the server are killed. What is held over all of them never exceeds
// the limit, by a count that the processes themselves keep.
#include <sys/mman.h>
#include <sys/wait.h>

#include <array>
#include <random>

#include "tests/system/cluster_support.h"
#include "weir/toolkit.h"

namespace weir::test {
namespace {

constexpr std::size_t kHosts = 3;
constexpr std::size_t kClients = 3;  // of each host
constexpr std::size_t kWorkers = kHosts * kClients;
constexpr std::size_t kEntries = 4;  // that each would like to have
constexpr int kMax = 10;

struct Board {
  std::atomic<bool> stop{false};
  struct alignas(64) Lane {
    // moves << 8 | held: raised after the enter and lowered before the leave, so that no more is
    // held by this than by the library.
    std::atomic<std::uint64_t> word{0};
    std::atomic<bool> doomed{false};  // about to be killed: counts no more
    std::atomic<std::uint64_t> entered{0};
  } lanes[kWorkers];
  std::atomic<std::uint64_t> worst{0};

  // What all of them held at one instant; nothing when they move too much for that.
  std::optional<std::uint64_t> held() const {
    std::array<std::uint64_t, kWorkers> first{};
    for (int attempt = 0; attempt < 50; ++attempt) {
      std::uint64_t sum = 0;
      bool same = attempt > 0;
      for (std::size_t i = 0; i < kWorkers; ++i) {
        const std::uint64_t word = lanes[i].word.load();
        same = same && word == first[i];
        first[i] = word;
        if (!lanes[i].doomed.load()) sum += word & 0xff;
      }
      if (same) return sum;
    }
    return std::nullopt;
  }
};

[[noreturn]] void work(const std::string& socket, Board& board, std::size_t index) {
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = socket.c_str();
  options.require_agent = 1;
  options.connect_timeout_ms = 5000;
  weir_client* client = nullptr;
  weir_resource* db = nullptr;
  if (weir_open(&options, &client) != WEIR_OK || weir_resource_get(client, "db", &db) != WEIR_OK)
    ::_exit(3);
  Board::Lane& mine = board.lanes[index];
  std::minstd_rand random(static_cast<unsigned>(index + 1));
  std::array<weir_entry, kEntries> entries{};
  std::array<bool, kEntries> in{};
  while (!board.stop.load()) {
    const std::size_t i = random() % kEntries;
    if (in[i]) {
      mine.word.fetch_add((1U << 8) - 1);
      weir_leave(&entries[i]);
      in[i] = false;
    } else if (weir_enter(db, WEIR_CRITICAL, &entries[i]) == WEIR_ALLOW) {
      mine.word.fetch_add((1U << 8) + 1);
      in[i] = true;
      ++mine.entered;
      if (const auto held = board.held()) {
        std::uint64_t worst = board.worst.load();
        while (*held > worst && !board.worst.compare_exchange_weak(worst, *held)) {
        }
      }
    }
    ::usleep(static_cast<useconds_t>(random() % 8000));
  }
  for (std::size_t i = 0; i < kEntries; ++i) {
    if (!in[i]) continue;
    mine.word.fetch_add((1U << 8) - 1);
    weir_leave(&entries[i]);
  }
  ::_exit(0);
}

std::string agent_rules(const std::string& server, const std::string& host) {
  return rules_at(server, host) +
         "resources:\n  - {name: db, concurrency: {max: 10, scope: cluster, fallback: closed}}\n";
}

class ClusterPermits : public ::testing::Test {
 protected:
  ClusterPermits() {
    void* memory =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    board = new (memory) Board;
  }
  ~ClusterPermits() override {
    for (const pid_t pid : pids)
      if (pid > 0) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
      }
    ::munmap(board, sizeof(Board));
  }
  void start(std::size_t worker) {
    board->lanes[worker].word = 0;
    board->lanes[worker].doomed = false;
    const std::string socket = agents[worker % kHosts]->socket();
    pids[worker] = ::fork();
    if (pids[worker] == 0) work(socket, *board, worker);
  }
  void kill9(std::size_t worker) {
    board->lanes[worker].doomed = true;
    ::kill(pids[worker], SIGKILL);
    ::waitpid(pids[worker], nullptr, 0);
    pids[worker] = 0;
  }
  std::array<std::uint64_t, kHosts> entered() const {
    std::array<std::uint64_t, kHosts> sums{};
    for (std::size_t i = 0; i < kWorkers; ++i)
      sums[i % kHosts] += board->lanes[i].entered.load();
    return sums;
  }
  // On each host somebody has entered `times` since.
  bool all_enter(std::uint64_t times) const {
    const auto before = entered();
    return eventually([&] {
      const auto now = entered();
      for (std::size_t i = 0; i < kHosts; ++i)
        if (now[i] < before[i] + times) return false;
      return true;
    });
  }

  Server server{{}};
  std::vector<std::unique_ptr<Agent>> agents;
  Board* board = nullptr;
  std::array<pid_t, kWorkers> pids{};
};

TEST_F(ClusterPermits, NeverMoreHeldThanTheLimitWhoeverIsKilled) {
  server.set_concurrency("{name: db, max: " + std::to_string(kMax) + "}");
  server.start();
  for (std::size_t i = 0; i < kHosts; ++i) {
    agents.push_back(std::make_unique<Agent>(
        AgentOptions{.rules = agent_rules(server.address(), std::string(1, "abc"[i]))}));
    ASSERT_TRUE(agents.back()->start());
  }
  for (std::size_t i = 0; i < kWorkers; ++i)
    start(i);
  for (const auto& agent : agents)
    ASSERT_TRUE(wait_answering(*agent)) << agent->log();

  ASSERT_TRUE(eventually([&] { return board->worst.load() == kMax; })) << "all of it is used";
  EXPECT_TRUE(all_enter(100));

  EXPECT_TRUE(eventually([&] {
    std::uint64_t sum = 0;
    for (const auto& agent : agents) {
      const v1::ResourcesResponse shown = agent->resources();
      if (shown.resources_size() == 0 || !shown.resources(0).share().leased()) return false;
      EXPECT_EQ(shown.resources(0).share().max(), static_cast<std::uint64_t>(kMax));
      sum += shown.resources(0).share().permits();
    }
    return sum >= kMax / 2 && sum <= kMax;
  })) << "each host shows its share";

  EXPECT_TRUE(eventually([&] {
    const v1::ClusterReport all = agents[0]->cluster(v1::CLUSTER_TOPIC_LIMITS);
    if (all.concurrency_size() != 1 || all.concurrency(0).hosts() != kHosts) return false;
    EXPECT_EQ(all.concurrency(0).max(), static_cast<std::uint64_t>(kMax));
    EXPECT_LE(all.concurrency(0).bound(), static_cast<std::uint64_t>(kMax));
    EXPECT_LE(all.concurrency(0).in_flight(), static_cast<std::uint64_t>(kMax));
    const v1::ClusterReport hosts = agents[0]->cluster(v1::CLUSTER_TOPIC_HOSTS, "db");
    return hosts.permit_hosts_size() == kHosts && hosts.permit_hosts(2).host() == "c" &&
           all.concurrency(0).in_flight() > kMax / 2;
  })) << "the server shows what all of them have";

  for (std::size_t i = 0; i < kHosts; ++i) {
    kill9(i);
    EXPECT_TRUE(all_enter(10)) << "its permits come back";
    start(i);
  }
  agents[0]->kill9();
  EXPECT_TRUE(all_enter(10)) << "processes go on without their agent";
  ASSERT_TRUE(agents[0]->start());
  ASSERT_TRUE(wait_answering(*agents[0]));
  EXPECT_TRUE(all_enter(200)) << "after an agent was killed";

  server.kill9();
  EXPECT_TRUE(all_enter(20)) << "a lease goes on without the server";
  server.start();
  for (const auto& agent : agents)
    ASSERT_TRUE(wait_answering(*agent)) << agent->log();
  EXPECT_TRUE(all_enter(200)) << "after the server was killed";

  board->stop = true;
  for (pid_t& pid : pids) {
    int status = -1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    pid = 0;
  }
  std::printf("[ permits  ] at most %llu of %d held at once\n",
              static_cast<unsigned long long>(board->worst.load()), kMax);
  EXPECT_EQ(board->worst.load(), static_cast<std::uint64_t>(kMax));
}

// What an agent keeps for its successor is of use only with the counters that it names.
TEST_F(ClusterPermits, ASuccessorTakesOverFromAnAgentWhoseServerCameByReload) {
  server.set_concurrency("{name: db, max: 10}");
  server.start();
  agents.push_back(std::make_unique<Agent>(
      AgentOptions{.rules = "version: 1\ndomains:\n  - {name: default, allow: {users: [65534]}}\n"
                            "limits: []\nresources:\n  - {name: db, concurrency: {max: 10}}\n"}));
  Agent& agent = *agents[0];
  ASSERT_TRUE(agent.start());
  const v1::ApplyResponse applied = agent.apply(agent_rules(server.address(), "a"));
  ASSERT_EQ(applied.problems_size(), 0) << applied.DebugString();
  ASSERT_TRUE(wait_answering(agent)) << agent.log();
  start(0);
  ASSERT_TRUE(eventually([&] { return board->lanes[0].entered.load() > 100; })) << agent.log();

  const auto counters_of = [&](const char* file, int line) {
    std::istringstream text(read_text(agent.dir() / file));
    std::string word;
    for (int i = 0; i < line; ++i)
      std::getline(text, word);
    text >> word;
    return word;
  };
  const std::string counters = counters_of("permits", 1);
  EXPECT_NE(counters, "0");
  EXPECT_NE(counters, "");
  agent.kill9();
  write_text(agent.rules_file(), agent_rules(server.address(), "a"));
  ASSERT_TRUE(agent.start());
  ASSERT_TRUE(wait_answering(agent)) << agent.log();
  EXPECT_TRUE(eventually([&] {
    const std::uint64_t before = board->lanes[0].entered.load();
    return eventually([&] { return board->lanes[0].entered.load() > before + 100; });
  }));
  EXPECT_EQ(counters_of("permits", 1), counters) << "the counters were taken over";
}

}  // namespace
}  // namespace weir::test
