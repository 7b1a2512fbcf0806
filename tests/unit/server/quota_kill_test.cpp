// The server as a process, killed at any moment: every chunk is debited once, every return is
// credited once, and what hosts say they have spent is what the books say at the end.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <map>
#include <random>

#include "server/store/maintenance.h"
#include "tests/unit/server/quota_fixture.h"

extern char** environ;

namespace weir::server {
namespace {

constexpr int kKills = 12;
constexpr int kHosts = 3;
constexpr lease::Units kTotal = 100'000;
const std::string kKey = lease::quota_key("calls", "customer-7");

class Process {
 public:
  explicit Process(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& each : arguments)
      argv.push_back(each.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    EXPECT_EQ(::posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
  }
  ~Process() { kill9(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void kill9() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  pid_t pid_ = 0;
};

// What one host believes: what it asks again until it knows, and what it has spent.
struct Host {
  std::uint64_t epoch = 0;
  std::uint64_t seq = 0;
  bool waits = false;
  std::optional<lease::ChunkReport> chunk;
  lease::Units spent_total = 0;
  std::unique_ptr<RawAgent> agent;
};

class QuotaKillTest : public testing::Test {
 protected:
  QuotaKillTest() {
    char name[] = "/tmp/weir-server-XXXXXX";
    dir_ = ::mkdtemp(name);
    std::ofstream(dir_ + "/server.yaml")
        << "version: 1\nlisten: unix:" << dir_ << "/s.sock\nhttp: off\nstate_dir: " << dir_
        << "/state\nlease: {ttl: 1s, tail: 0s, refresh: 100ms}\nstore: {unsafe: true}\n"
        << "namespaces: {shop: {quotas: [{name: calls, total: " << kTotal
        << ", keys: any, chunk: {max: 50}}]}}\n";
  }
  ~QuotaKillTest() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  void start() {
    server_ = std::make_unique<Process>(
        std::vector<std::string>{WEIR_SERVER_PROGRAM, "--config", dir_ + "/server.yaml"});
  }
  // Until the new server answers; false when it never does.
  bool connect(Host& host) {
    const std::string path = dir_ + "/s.sock";
    const auto answers = [&] {
      const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_un to{};
      to.sun_family = AF_UNIX;
      path.copy(to.sun_path, sizeof(to.sun_path) - 1);
      const bool ok = ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
      ::close(fd);
      return ok;
    };
    if (!run_until(io, answers)) return false;
    host.agent = std::make_unique<RawAgent>(io, "unix:" + path, "web-" + std::to_string(host.epoch),
                                            host.epoch);
    return host.agent->greet().has_value();
  }
  // Everything that it has been given is spent and returned with the next request.
  lease::QuotaAsk next_ask(Host& host, bool more) {
    std::vector<lease::ChunkReport> chunks;
    if (host.chunk) chunks.push_back(*host.chunk);
    if (!more) return quota_ask(kKey, 0, 0, chunks);
    if (!host.waits) ++host.seq;
    host.waits = true;
    return quota_ask(kKey, host.seq, 7, chunks);
  }
  void take(Host& host, const lease::QuotaReply& reply) {
    for (const std::uint64_t seq : reply.closed)
      if (host.chunk && host.chunk->seq == seq) {
        host.spent_total += host.chunk->spent;
        host.chunk.reset();
      }
    if (reply.seq == 0 || reply.outcome != lease::QuotaOutcome::granted) return;
    const auto [known, fresh] = granted_.try_emplace({host.epoch, reply.seq}, reply.granted);
    EXPECT_EQ(known->second, reply.granted) << "the same request, another chunk";
    if (!fresh || !host.waits || reply.seq != host.seq) return;
    host.waits = false;
    const auto spent = static_cast<lease::Units>(random_() % 8) * reply.granted / 7;
    host.chunk = lease::ChunkReport{reply.seq, reply.gen, reply.granted, spent, true};
  }

  boost::asio::io_context io;
  std::string dir_;
  std::unique_ptr<Process> server_;
  std::mt19937 random_{7};
  std::map<std::pair<std::uint64_t, std::uint64_t>, lease::Units> granted_;
};

TEST_F(QuotaKillTest, EveryUnitIsHandedOutOnceWheneverTheServerDies) {
  std::vector<Host> hosts(kHosts);
  for (int kill = 0; kill <= kKills; ++kill) {
    start();
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      hosts[i].epoch = i + 1;
      ASSERT_TRUE(connect(hosts[i])) << "start " << kill;
    }
    const auto rounds = static_cast<unsigned>(1 + random_() % 12);
    for (unsigned round = 0; round < rounds; ++round) {
      std::vector<lease::QuotaAsk> asks;
      for (Host& host : hosts) {
        asks.push_back(next_ask(host, true));
        send_ask(*host.agent, asks.back());
      }
      // The last round dies somewhere between the sending and the answers.
      if (kill < kKills && round + 1 == rounds) {
        run_for(io, std::chrono::milliseconds(random_() % 6));
        server_->kill9();
      }
      for (std::size_t i = 0; i < hosts.size(); ++i)
        if (const auto reply = take_reply(*hosts[i].agent, asks[i].ask_no, 5s))
          take(hosts[i], *reply);
    }
  }
  lease::Units spent = 0;
  for (Host& host : hosts) {
    for (int i = 0; i < 5 && (host.waits || host.chunk); ++i) {
      const auto reply = exchange(*host.agent, next_ask(host, host.waits));
      ASSERT_TRUE(reply);
      take(host, *reply);
    }
    ASSERT_FALSE(host.chunk);
    spent += host.spent_total;
  }
  server_->kill9();

  EXPECT_GE(granted_.size(), static_cast<std::size_t>(kKills));
  const std::string store = dir_ + "/state/quotas.db";
  CheckReport report;
  EXPECT_EQ(check_store(store, report), "");
  SQLite::Database db(store, SQLite::OPEN_READONLY);
  SQLite::Statement row(db, "SELECT total, remaining, consumed, lost FROM quota");
  ASSERT_TRUE(row.executeStep());
  EXPECT_EQ(row.getColumn(0).getInt64(), kTotal);
  EXPECT_EQ(row.getColumn(2).getInt64(), spent);
  EXPECT_EQ(row.getColumn(1).getInt64(), kTotal - spent);
  EXPECT_EQ(row.getColumn(3).getInt64(), 0);
}

TEST_F(QuotaKillTest, TheStoreIsBackedUpCheckedAndRestoredByTheProgram) {
  start();
  Host host;
  host.epoch = 1;
  ASSERT_TRUE(connect(host));
  ASSERT_TRUE(exchange(*host.agent, next_ask(host, true)));
  const auto db = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {WEIR_SERVER_PROGRAM, "--config", dir_ + "/server.yaml", "db"});
    return Process(std::move(words)).wait();
  };
  const std::string copy = dir_ + "/copy.db";

  EXPECT_EQ(db({"backup", copy}), 0);
  EXPECT_EQ(db({"backup", copy}), 1) << "a copy is never written over";
  EXPECT_EQ(db({"restore", copy}), 1) << "the server runs";
  EXPECT_EQ(db({"migrate"}), 1) << "the server runs";
  server_->kill9();
  EXPECT_EQ(db({"check"}), 0);
  EXPECT_EQ(db({"migrate", "--to", "1"}), 0);
  EXPECT_EQ(db({"migrate"}), 0);
  EXPECT_EQ(db({"restore", copy}), 0);
  EXPECT_EQ(db({"check"}), 0);
  EXPECT_EQ(db({"check", "--store", dir_ + "/none.db"}), 1);

  // What was restored is suspended, and what was held is lost by name.
  start();
  Host again;
  again.epoch = 2;
  ASSERT_TRUE(connect(again));
  const auto reply = exchange(*again.agent, quota_ask(kKey, 1, 1));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->outcome, lease::QuotaOutcome::suspended);
}

}  // namespace
}  // namespace weir::server
