// The availability toolkit with a real agent and real client processes: who dies, hangs or stands
// still, and what must then hold.
//
// Tried with these protections taken out, each of which fails here: raise_total without its bound;
// carry_permits carrying nothing.
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>

#include "net/admin_client.h"
#include "tests/support/fixture.h"
#include "tests/unit/client/toolkit_host.h"
#include "weir/toolkit.hpp"

namespace weir::test {
namespace {

constexpr std::int32_t kClass = WEIR_CRITICAL;

std::string toolkit_rules(const std::string& resources) {
  const std::string id = std::to_string(::getuid());
  return "version: 1\ndomains: [{name: default, allow: {users: [" + id + "]}}]\n" + resources;
}

struct Toolkit : ::testing::Test {
  Agent agent{{.args = {"--clients-max", "64"}}};

  bool serve(const std::string& resources) {
    write_text(agent.rules_file(), toolkit_rules(resources));
    return agent.start();
  }
  v1::AdminResponse ask(const v1::AdminRequest& request) const {
    auto client = net::AdminClient::connect(agent.dir() / "admin.sock", std::chrono::seconds(10));
    if (!client) return {};
    auto answer = client->call(request);
    return answer ? *answer : v1::AdminResponse{};
  }
  v1::ResourceStatus resource(const std::string& name) const {
    v1::AdminRequest request;
    request.mutable_resources()->set_name(name);
    const v1::AdminResponse answer = ask(request);
    return answer.resources().resources().empty() ? v1::ResourceStatus{}
                                                  : answer.resources().resources(0);
  }
  std::uint64_t in_flight(const std::string& name) const { return resource(name).in_flight(); }
  static weir_resource* get(const Client& client, const char* name) {
    weir_resource* found = nullptr;
    return weir_resource_get(client.get(), name, &found) == WEIR_OK ? found : nullptr;
  }
  // A child process with a client of its own, which must not return.
  template <class Body>
  pid_t spawn(Body body) const {
    const pid_t pid = fork_child();
    if (pid != 0) return pid;
    {
      const Client client(agent.socket());
      if (client.status() != WEIR_OK) ::_exit(3);
      body(client);
    }
    ::_exit(0);
  }
};

// ---- concurrency

constexpr std::uint32_t kLanes = 6;
constexpr std::uint32_t kStaysMax = 40'000;

// When each process was certainly inside: between the return of enter and the call of leave.
struct Stays {
  struct Stay {
    std::atomic<std::int64_t> from_ns{0};
    std::atomic<std::int64_t> to_ns{0};
  };
  std::atomic<bool> stop{false};
  std::array<std::atomic<std::uint32_t>, kLanes> count{};
  std::array<std::array<Stay, kStaysMax>, kLanes> stays{};
};

[[noreturn]] void come_and_go(const Client& client, Stays& all, std::uint32_t lane,
                              std::uint64_t seed) {
  weir_resource* db = nullptr;
  if (weir_resource_get(client.get(), "db", &db) != WEIR_OK) ::_exit(4);
  Random random(seed);
  while (!all.stop.load() && all.count[lane].load() < kStaysMax) {
    weir_entry entry{};
    if (weir_enter(db, kClass, &entry) == WEIR_ALLOW) {
      Stays::Stay& stay = all.stays[lane][all.count[lane].fetch_add(1)];
      stay.from_ns.store(now_ns());
      if (random() % 8 == 0) ::usleep(100 + random() % 400);
      stay.to_ns.store(now_ns());
      (void)weir_leave(&entry);
    }
    if (random() % 16 == 0) ::usleep(50);
  }
  ::_exit(0);
}

// The most that were inside at one instant.
std::int64_t most_at_once(const Stays& all) {
  std::vector<std::pair<std::int64_t, int>> edges;
  for (std::uint32_t lane = 0; lane < kLanes; ++lane)
    for (std::uint32_t i = 0; i < std::min(all.count[lane].load(), kStaysMax); ++i) {
      const Stays::Stay& stay = all.stays[lane][i];
      if (stay.from_ns.load() == 0 || stay.to_ns.load() <= stay.from_ns.load()) continue;
      edges.emplace_back(stay.from_ns.load(), +1);
      edges.emplace_back(stay.to_ns.load(), -1);
    }
  // At one instant those who leave go first: they may have left before it.
  std::sort(edges.begin(), edges.end());
  std::int64_t now = 0, most = 0;
  for (const auto& [at, step] : edges)
    most = std::max(most, now += step);
  return most;
}

TEST_F(Toolkit, ABulkheadOfManyProcessesHoldsWhoeverIsKilled) {
  constexpr std::int64_t kMax = 3;
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 3}]\n"));
  SharedPage<Stays> all;
  std::array<pid_t, kLanes> pids{};
  std::uint64_t seed = 1;
  const auto begin = [&](std::uint32_t lane) {
    ++seed;
    pids[lane] = spawn([&](const Client& c) { come_and_go(c, *all.get(), lane, seed); });
  };
  for (std::uint32_t lane = 0; lane < kLanes; ++lane)
    begin(lane);
  Random random(7);
  const std::int64_t end = now_ns() + static_cast<std::int64_t>(chaos_seconds(2.5) * 1e9);
  std::uint32_t kills = 0;
  while (now_ns() < end) {
    ::usleep(5000 + random() % 20'000);
    const std::uint32_t lane = random() % kLanes;
    // Whoever is inside now was so at least until this instant.
    const std::int64_t alive_ns = now_ns();
    const std::uint32_t last = all->count[lane].load();
    kill_and_wait(pids[lane]);
    ++kills;
    if (last != 0 && last <= kStaysMax)
      if (Stays::Stay& stay = all->stays[lane][last - 1];
          stay.from_ns.load() != 0 && stay.to_ns.load() == 0)
        stay.to_ns.store(alive_ns);
    begin(lane);
  }
  all->stop.store(true);
  for (const pid_t pid : pids) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }

  EXPECT_LE(most_at_once(*all.get()), kMax);
  std::uint64_t stays = 0;
  for (const auto& count : all->count)
    stays += count.load();
  EXPECT_GT(stays, 100U) << "a bulkhead that admits nobody breaks no bound";
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 0; })) << in_flight("db") << " leaked";
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  std::array<weir_entry, kMax> entries{};
  for (weir_entry& entry : entries)
    EXPECT_TRUE(eventually([&] { return weir_enter(db, kClass, &entry) == WEIR_ALLOW; }));
  std::printf("[ oracle   ] %u kills, %llu stays, most at once %lld of %lld\n", kills,
              static_cast<unsigned long long>(stays),
              static_cast<long long>(most_at_once(*all.get())), static_cast<long long>(kMax));
}

// A child that takes `count` permits and then does as `then` says.
template <class Then>
auto holder(SharedPage<std::atomic<int>>& ready, std::uint32_t count, Then then) {
  return [&ready, count, then](const Client& client) {
    weir_resource* db = nullptr;
    if (weir_resource_get(client.get(), "db", &db) != WEIR_OK) ::_exit(4);
    std::array<weir_entry, 8> entries{};
    for (std::uint32_t i = 0; i < count; ++i)
      if (weir_enter(db, kClass, &entries[i]) != WEIR_ALLOW) ::_exit(5);
    *ready.get() = 1;
    then(client, entries);
  };
}

TEST_F(Toolkit, WhatAKilledProcessHeldIsFreeAtOnce) {
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 2}]\n"));
  SharedPage<std::atomic<int>> ready;
  const pid_t child = spawn(holder(ready, 2, [](const Client&, auto&) { ::pause(); }));
  ASSERT_TRUE(eventually([&] { return *ready.get() == 1; }));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  weir_entry entry{};
  EXPECT_EQ(weir_enter(db, kClass, &entry), WEIR_DENY_FULL);

  kill_and_wait(child);

  EXPECT_TRUE(eventually([&] { return weir_enter(db, kClass, &entry) == WEIR_ALLOW; }));
  EXPECT_TRUE(eventually([&] { return resource("db").reaped_total() == 2; }));
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 1; }));
}

// A holder hangs: after the lease its permits are others', and when it wakes up after all and
// leaves, nothing falls below none.
TEST_F(Toolkit, AHungHolderLosesItsPermitsAfterTheLease) {
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: {max: 2, lease: 300ms}}]\n"));
  SharedPage<std::atomic<int>> ready;
  const pid_t child = spawn(holder(ready, 2, [](const Client&, auto& entries) {
    ::raise(SIGSTOP);
    for (weir_entry& entry : entries)
      (void)weir_leave(&entry);
    ::pause();
  }));
  ASSERT_TRUE(eventually([&] { return state_of(child) == 'T'; }));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  weir_entry one{}, two{};

  EXPECT_TRUE(eventually([&] { return weir_enter(db, kClass, &one) == WEIR_ALLOW; }));
  EXPECT_TRUE(eventually([&] { return resource("db").expired_total() == 2; }));
  ::kill(child, SIGCONT);
  EXPECT_TRUE(eventually([&] { return in_flight("db") <= 1; }));
  EXPECT_TRUE(eventually([&] { return weir_enter(db, kClass, &two) == WEIR_ALLOW; }));
  weir_entry three{};
  // What the sleeper gave back was not its own any more; a recount puts that right.
  EXPECT_TRUE(eventually([&] {
    const bool full = weir_enter(db, kClass, &three) == WEIR_DENY_FULL;
    if (!full) (void)weir_leave(&three);
    return full;
  }));
  kill_and_wait(child);
}

// An agent comes back and its counters are gone. Who holds what is in the processes, and they say
// so as soon as they attach again.
TEST_F(Toolkit, NewCountersLearnWhatProcessesHold) {
  agent.options().store_fds = false;
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 5}, {name: other, concurrency: 5}]\n"));
  SharedPage<std::atomic<int>> ready;
  SharedPage<std::atomic<int>> leave;
  const pid_t child = spawn(holder(ready, 3, [&leave](const Client& own, auto& entries) {
    // A process that makes no call is not heard of. Of which resource does not matter.
    weir_resource* other = nullptr;
    if (weir_resource_get(own.get(), "other", &other) != WEIR_OK) ::_exit(4);
    while (*leave.get() == 0) {
      weir_entry entry{};
      (void)weir_enter(other, kClass, &entry);
      (void)weir_leave(&entry);
      ::usleep(1000);
    }
    for (weir_entry& entry : entries)
      (void)weir_leave(&entry);
    ::pause();
  }));
  ASSERT_TRUE(eventually([&] { return *ready.get() == 1; }));
  for (int round = 0; round < 2; ++round) {
    agent.kill9();
    agent.manager().forget_fds();
    ASSERT_TRUE(agent.start()) << agent.log();
    EXPECT_TRUE(eventually([&] { return in_flight("db") == 3; })) << in_flight("db");
  }

  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  std::array<weir_entry, 2> entries{};
  for (weir_entry& entry : entries)
    EXPECT_EQ(weir_enter(db, kClass, &entry), WEIR_ALLOW);
  weir_entry third{};
  EXPECT_EQ(weir_enter(db, kClass, &third), WEIR_DENY_FULL);
  *leave.get() = 1;
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 2; })) << in_flight("db");
  kill_and_wait(child);
  for (weir_entry& entry : entries)
    (void)weir_leave(&entry);
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 0; })) << in_flight("db");
}

TEST_F(Toolkit, KeptCountersKeepWhatIsInFlightThroughARestartAndOtherRules) {
  ASSERT_TRUE(serve(
      "resources: [{name: a, concurrency: 9}, {name: db, concurrency: 5, breaker: states}]\n"));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  weir_entry entry{};
  ASSERT_EQ(weir_enter(db, kClass, &entry), WEIR_ALLOW);
  agent.kill9();
  // In another order, and with a new one before it: each finds its own words again.
  write_text(agent.rules_file(), toolkit_rules("resources: [{name: new, concurrency: 9}, {name: "
                                               "db, concurrency: 5}, {name: a, concurrency: "
                                               "9}]\n"));
  ASSERT_TRUE(agent.start()) << agent.log();

  EXPECT_TRUE(agent.status().counters_adopted());
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 1; })) << in_flight("db");
  EXPECT_EQ(in_flight("new"), 0U);
  EXPECT_EQ(in_flight("a"), 0U);
  (void)weir_leave(&entry);
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 0; }));
}

TEST_F(Toolkit, ALimitFollowsTheRulesLive) {
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 3}]\n"));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  std::array<weir_entry, 3> entries{};
  for (weir_entry& entry : entries)
    ASSERT_EQ(weir_enter(db, kClass, &entry), WEIR_ALLOW);
  weir_entry more{};
  EXPECT_EQ(weir_enter(db, kClass, &more), WEIR_DENY_FULL);

  ASSERT_TRUE(agent.apply(toolkit_rules("resources: [{name: db, concurrency: 4}]\n")).applied());
  EXPECT_TRUE(eventually([&] { return weir_enter(db, kClass, &more) == WEIR_ALLOW; }));
  ASSERT_TRUE(agent.apply(toolkit_rules("resources: [{name: db, concurrency: 1}]\n")).applied());
  (void)weir_leave(&more);
  EXPECT_EQ(weir_enter(db, kClass, &more), WEIR_DENY_FULL) << "those inside stay, nobody joins";
  // Gone, it lets everything pass; back again, it remembers who is inside.
  ASSERT_TRUE(agent.apply(toolkit_rules("resources: [{name: x, concurrency: 1}]\n")).applied());
  EXPECT_TRUE(eventually([&] { return weir_enter(db, kClass, &more) == WEIR_ALLOW; }));
  (void)weir_leave(&more);
  ASSERT_TRUE(agent.apply(toolkit_rules("resources: [{name: db, concurrency: 4}]\n")).applied());
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 3; })) << in_flight("db");
  for (weir_entry& entry : entries)
    (void)weir_leave(&entry);
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 0; })) << in_flight("db");
  // A file with nonsense in it changes nothing, and says the line.
  const v1::ApplyResponse refused = agent.apply(toolkit_rules(
      "resources:\n  - {name: db, concurrency: 4}\n  - {name: e, breaker: {k: 2}}\n"));
  EXPECT_FALSE(refused.applied());
  ASSERT_GT(refused.problems_size(), 0);
  EXPECT_NE(refused.problems(0).find(":5:"), std::string::npos) << refused.problems(0);
  EXPECT_EQ(resource("db").concurrency(), 4U);
}

// ---- breaker

struct Calls {
  std::atomic<bool> healthy{false};
  std::atomic<bool> stop{false};
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<std::uint64_t> allowed{0};
};

// Calls what may be down, at once again when refused.
void call_on(const Client& client, Calls& calls) {
  weir_resource* db = nullptr;
  if (weir_resource_get(client.get(), "db", &db) != WEIR_OK) ::_exit(4);
  while (!calls.stop.load()) {
    weir_call call{};
    if (weir_call_begin(db, &call, nullptr) != WEIR_ALLOW) {
      ::usleep(500);
      continue;
    }
    const int now = ++calls.inside;
    int most = calls.most.load();
    while (now > most && !calls.most.compare_exchange_weak(most, now)) {
    }
    ++calls.allowed;
    ::usleep(10'000);
    --calls.inside;
    (void)weir_call_end(&call, calls.healthy.load() ? WEIR_DONE_OK : WEIR_DONE_FAILED);
  }
}

TEST_F(Toolkit, AnOpenBreakerSendsOneProbeOfTheWholeHost) {
  ASSERT_TRUE(
      serve("resources: [{name: db, breaker: {consecutive: 5, open: 50ms, open_max: 100ms, "
            "probe_timeout: 60s}}]\n"));
  SharedPage<Calls> calls;
  std::array<pid_t, 4> pids{};
  for (pid_t& pid : pids)
    pid = spawn([&](const Client& c) { call_on(c, *calls.get()); });
  ASSERT_TRUE(eventually([&] { return resource("db").breaker_opened_total() >= 1; }));
  // Those that had begun before it opened are through after one call's time.
  ASSERT_TRUE(eventually([&] { return calls->inside.load() == 0; }));
  calls->most = 0;
  const std::uint64_t before = calls->allowed.load();
  EXPECT_TRUE(eventually([&] { return calls->allowed.load() >= before + 5; })) << "it probes";
  EXPECT_EQ(calls->most.load(), 1) << "one at a time";
  const v1::ResourceStatus seen = resource("db");
  EXPECT_GT(seen.broken_total(), 10U);
  EXPECT_TRUE(seen.breaker_state() == "open" || seen.breaker_state() == "probing");

  calls->healthy = true;
  EXPECT_TRUE(eventually([&] { return resource("db").breaker_state() == "closed"; }));
  EXPECT_EQ(resource("db").breaker_reason(), "the probe went well");
  calls->stop = true;
  for (const pid_t pid : pids)
    ::waitpid(pid, nullptr, 0);
}

TEST_F(Toolkit, AKilledProberWedgesNothing) {
  ASSERT_TRUE(serve(
      "resources: [{name: db, breaker: {consecutive: 2, open: 20ms, open_max: 20ms, probe_timeout: "
      "1h}}]\n"));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  weir_call call{};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(weir_call_begin(db, &call, nullptr), WEIR_ALLOW);
    (void)weir_call_end(&call, WEIR_DONE_FAILED);
  }
  EXPECT_EQ(weir_call_begin(db, &call, nullptr), WEIR_DENY_OPEN);
  SharedPage<std::atomic<int>> ready;
  const pid_t prober = spawn([&ready](const Client& own) {
    weir_resource* down = nullptr;
    if (weir_resource_get(own.get(), "db", &down) != WEIR_OK) ::_exit(4);
    weir_call probe{};
    while (weir_call_begin(down, &probe, nullptr) != WEIR_ALLOW)
      ::usleep(1000);
    *ready.get() = 1;
    ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *ready.get() == 1; }));
  ASSERT_TRUE(eventually([&] { return resource("db").breaker_state() == "probing"; }));
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(weir_call_begin(db, &call, nullptr), WEIR_DENY_OPEN);

  kill_and_wait(prober);

  EXPECT_TRUE(eventually([&] { return weir_call_begin(db, &call, nullptr) == WEIR_ALLOW; }))
      << "not an hour later";
  (void)weir_call_end(&call, WEIR_DONE_OK);
  EXPECT_TRUE(eventually([&] { return resource("db").breaker_state() == "closed"; }));
}

TEST_F(Toolkit, AnOperatorForcesABreakerInEveryProcess) {
  ASSERT_TRUE(serve("resources: [{name: db, breaker: states}]\n"));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  const auto order = [&](v1::ForceBreakerRequest::State state, std::uint64_t for_ms) {
    v1::AdminRequest request;
    request.mutable_force_breaker()->set_name("db");
    request.mutable_force_breaker()->set_state(state);
    request.mutable_force_breaker()->set_for_ms(for_ms);
    return ask(request).has_force();
  };
  const auto passes = [&] {
    weir_call call{};
    const bool allowed = weir_call_begin(db, &call, nullptr) == WEIR_ALLOW;
    (void)weir_call_end(&call, WEIR_DONE_IGNORED);
    return allowed;
  };
  EXPECT_TRUE(passes());
  ASSERT_TRUE(order(v1::ForceBreakerRequest::STATE_OPEN, 300));
  EXPECT_FALSE(passes());
  EXPECT_TRUE(eventually(passes)) << "its time is over";
  ASSERT_TRUE(order(v1::ForceBreakerRequest::STATE_OPEN, 0));
  EXPECT_FALSE(passes());
  ASSERT_TRUE(order(v1::ForceBreakerRequest::STATE_AUTOMATIC, 0));
  EXPECT_TRUE(passes());
}

// ---- shedding

void mask_the_host() {
  // Only syscalls: this runs between fork and exec.
  if (::unshare(CLONE_NEWNS) != 0) ::_exit(9);
  ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  ::mount("/dev/null", "/proc/stat", nullptr, MS_BIND, nullptr);
  ::mount("/dev/null", "/proc/pressure/cpu", nullptr, MS_BIND, nullptr);
  ::mount("none", "/sys/fs/cgroup", "tmpfs", 0, nullptr);
}

// The sampler sees nothing: the bulkhead for the blind is in force, not nothing. Without the agent
// nothing is shed, and the concurrency limit stays.
TEST_F(Toolkit, ABlindAgentShedsByItsBulkheadAndADeadOneNotAtAll) {
  if (!is_root()) GTEST_SKIP() << "masking /proc needs root";
  agent.options().in_child = mask_the_host;
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 6, shed: {blind_limit: 2}}]\n"));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  std::array<weir_entry, 6> entries{};
  for (std::size_t i = 0; i < 4; ++i)
    ASSERT_EQ(weir_enter(db, kClass, &entries[i]), WEIR_ALLOW);
  const auto sheds = [&] { return weir_shed(db, WEIR_SHEDDABLE) == WEIR_DENY_SHED; };
  const auto passes = [&] { return weir_shed(db, WEIR_SHEDDABLE) == WEIR_ALLOW; };
  ASSERT_TRUE(eventually([&] { return resource("db").blind(); })) << agent.log();
  EXPECT_TRUE(eventually(sheds));

  agent.freeze();
  EXPECT_TRUE(eventually(passes)) << "what a stopped agent said last is not in force for ever";
  EXPECT_EQ(weir_enter(db, kClass, &entries[4]), WEIR_ALLOW);
  EXPECT_EQ(weir_enter(db, kClass, &entries[5]), WEIR_ALLOW);
  weir_entry seventh{};
  EXPECT_EQ(weir_enter(db, kClass, &seventh), WEIR_DENY_FULL);
  agent.thaw();
  EXPECT_TRUE(eventually(sheds));

  agent.kill9();
  EXPECT_TRUE(eventually(passes));
  EXPECT_EQ(weir_enter(db, kClass, &seventh), WEIR_DENY_FULL);
  ASSERT_TRUE(agent.start()) << agent.log();
  EXPECT_TRUE(eventually(sheds));
  EXPECT_TRUE(eventually([&] { return in_flight("db") == 6; }));
}

// ---- examples

// A service in C, in C++ and in Python, against the same resource: each gets through, is broken off
// by its failures in a row, and leaves nothing behind.
TEST_F(Toolkit, TheExamplesProtectThemselves) {
  ASSERT_TRUE(
      serve("resources: [{name: orders, concurrency: {max: 2, tenants: [{name: gold, max: 1}]}, "
            "breaker: {error_rate: 50%}, deadline: 1s}]\n"));
  const std::vector<std::vector<std::string>> programs{
      {WEIR_EXAMPLES_DIR "/service-c", "orders", "0.5"},
      {WEIR_EXAMPLES_DIR "/service-cpp", "orders", "0.5"},
      {"/usr/bin/python3", WEIR_SOURCE_DIR "/examples/service.py", "orders", "0.5"}};
  for (const auto& words : programs) {
    SpawnOptions spawn;
    spawn.argv = words;
    spawn.env = {{"WEIR_SOCKET", agent.socket()}, {"WEIR_LIBRARY", WEIR_LIBRARY_PATH}};
    spawn.output = agent.dir() / "example.log";
    const std::uint64_t before = resource("orders").succeeded_total();
    Process program = Process::spawn(spawn);
    EXPECT_EQ(program.exit_code(), 0) << read_text(spawn.output);
    EXPECT_NE(read_text(spawn.output).find("answered="), std::string::npos)
        << read_text(spawn.output);
    // Python without ctypes, or none at all, says so by its exit code above.
    EXPECT_TRUE(eventually([&] { return resource("orders").succeeded_total() > before + 20; }))
        << words.front() << ": " << read_text(spawn.output);
    EXPECT_TRUE(eventually([&] { return in_flight("orders") == 0; }));
    EXPECT_GT(resource("orders").failed_total(), 0U);
  }
}

// ---- sizes

std::string many(int count) {
  std::string text = "resources:\n";
  for (int i = 0; i < count; ++i)
    text += "  - {name: r" + std::to_string(i) + ", concurrency: 1, breaker: states}\n";
  return text;
}

TEST_F(Toolkit, TenThousandResourcesAreRefusedWithWhatToDo) {
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 1}]\n"));
  const v1::ApplyResponse refused = agent.apply(toolkit_rules(many(10'000)));
  EXPECT_FALSE(refused.applied());
  ASSERT_EQ(refused.problems_size(), 1);
  EXPECT_NE(refused.problems(0).find("--resources-max 10000"), std::string::npos)
      << refused.problems(0);
  EXPECT_EQ(resource("db").concurrency(), 1U) << "what was in force stays";
}

TEST_F(Toolkit, TenThousandResourcesWorkWhereThereIsRoom) {
  agent.options().args.insert(agent.options().args.end(), {"--resources-max", "10000"});
  ASSERT_TRUE(serve(many(10'000)));
  const Client client(agent.socket());
  for (const char* name : {"r0", "r5000", "r9999"}) {
    weir_resource* one = get(client, name);
    weir_entry entry{}, second{};
    EXPECT_EQ(weir_enter(one, kClass, &entry), WEIR_ALLOW);
    EXPECT_EQ(weir_enter(one, kClass, &second), WEIR_DENY_FULL) << name;
    EXPECT_TRUE(eventually([&] { return in_flight(name) == 1; })) << name;
    weir_call call{};
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(weir_call_begin(one, &call, nullptr), WEIR_ALLOW);
      (void)weir_call_end(&call, WEIR_DONE_FAILED);
    }
    EXPECT_EQ(weir_call_begin(one, &call, nullptr), WEIR_DENY_OPEN) << name;
    (void)weir_leave(&entry);
  }
  v1::AdminRequest all;
  all.mutable_resources();
  EXPECT_EQ(ask(all).resources().resources_size(), 10'000);
  ASSERT_TRUE(agent.apply(toolkit_rules(many(9'999))).applied());
  EXPECT_EQ(resource("r9999").name(), "");
  EXPECT_EQ(resource("r9998").name(), "r9998");
  EXPECT_LT(resident_bytes(agent.pid()), 400'000'000U);
}

// Nine of ten are short, and of those not each is looked at.
TEST_F(Toolkit, QuantilesOfResponsesCoverShortAndLongOnes) {
  ASSERT_TRUE(serve("resources: [{name: db, concurrency: 50}]\n"));
  const Client client(agent.socket());
  weir_resource* db = get(client, "db");
  ASSERT_NE(db, nullptr);
  for (int i = 0; i < 5'000; ++i) {
    weir_call call;
    ASSERT_EQ(weir_call_begin(db, &call, nullptr), WEIR_ALLOW);
    ASSERT_EQ(weir_call_end_after(&call, WEIR_DONE_OK, i % 10 == 0 ? 50'000'000 : 20'000), WEIR_OK);
  }
  ASSERT_TRUE(eventually([&] { return resource("db").response_p99_ns() > 40'000'000; }));
  EXPECT_NEAR(static_cast<double>(resource("db").response_p50_ns()), 21'000, 2'500);
  EXPECT_NEAR(static_cast<double>(resource("db").response_p99_ns()), 53e6, 4e6);
}

}  // namespace
}  // namespace weir::test
