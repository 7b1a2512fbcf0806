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
  // How often each host enters over a stretch of time.
  std::array<std::uint64_t, kHosts> entered_in(int ms) {
    std::array<std::uint64_t, kHosts> sums{};
    for (int sign : {-1, 1}) {
      for (std::size_t i = 0; i < kWorkers; ++i)
        sums[i % kHosts] += static_cast<std::uint64_t>(sign) * board->lanes[i].entered.load();
      if (sign < 0) ::usleep(static_cast<useconds_t>(ms) * 1000);
    }
    return sums;
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
  for (const std::uint64_t each : entered_in(2000))
    EXPECT_GT(each, 0U);

  for (std::size_t i = 0; i < kHosts; ++i) {
    kill9(i);
    ::usleep(200'000);
    start(i);
  }
  agents[0]->kill9();
  ::usleep(300'000);
  ASSERT_TRUE(agents[0]->start());
  ASSERT_TRUE(wait_answering(*agents[0]));
  for (const std::uint64_t each : entered_in(5000))
    EXPECT_GT(each, 0U) << "after an agent was killed";

  server.kill9();
  for (const std::uint64_t each : entered_in(1000))
    EXPECT_GT(each, 0U) << "a lease goes on without the server";
  server.start();
  for (const auto& agent : agents)
    ASSERT_TRUE(wait_answering(*agent)) << agent->log();
  for (const std::uint64_t each : entered_in(3000))
    EXPECT_GT(each, 0U) << "after the server was killed";

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

}  // namespace
}  // namespace weir::test
