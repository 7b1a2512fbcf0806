// H1, H2, H4, H5, H6, H9: what a hostile client may try with what the agent gave it.
//
// Tried with these protections taken out, each of which fails here:
//   - seal_segment sealing nothing; the rules sealed without FUTURE_WRITE;
//   - the agent receiving frames with room for descriptors and keeping them (AFloodOfDescriptors);
//   - no look at whose waiter cell a frame names (AnothersWaiterCell);
//   - mint() without the clip to what the last mint left (PoisonedWords).
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/support/fixture.h"
#include "tests/support/raw_client.h"

namespace weir::test {
namespace {

using namespace weir::shm;

struct Hostile : ::testing::Test {
  Agent agent{{.rules = rules_of({"name: /t, rate: 1000/s, burst: 50"})}};
  void SetUp() override {
    if (is_root()) open_to_all(agent.dir().path());
    ASSERT_TRUE(agent.start());
  }
  // Whatever happened, everybody else is served.
  void expect_service() {
    EXPECT_TRUE(agent.process().running());
    EXPECT_EQ(agent.status().pid(), agent.pid());
    const Client client(agent.socket());
    ASSERT_EQ(client.status(), WEIR_OK);
    weir_limit* limit = client.limit("/t");
    EXPECT_TRUE(eventually([&] { return weir_try_acquire(limit, 1) == WEIR_ALLOW; }));
    EXPECT_TRUE(eventually([&] { return info_of(limit).tokens <= 50; }));
  }
};

TEST_F(Hostile, TheSegmentsCannotBeTruncatedGrownOrSealed) {
  RawClient raw(agent.socket());
  ASSERT_TRUE(raw.attach());
  for (const int fd : {raw.rules_fd(), raw.counters_fd()}) {
    EXPECT_NE(::ftruncate(fd, 0), 0);
    EXPECT_EQ(errno, EPERM);
    EXPECT_NE(::ftruncate(fd, 1 << 30), 0);
    EXPECT_EQ(errno, EPERM);
    // A seal against writing would keep the next agent from adopting the counters.
    EXPECT_NE(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_EQ(errno, EPERM);
    // A hole would lose the words of everybody.
    if (fd == raw.rules_fd()) {
      EXPECT_NE(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    }
  }
  expect_service();
}

// Root included: run as root, this shows just that.
TEST_F(Hostile, TheRulesCannotBeWrittenByAnyWay) {
  RawClient raw(agent.socket());
  ASSERT_TRUE(raw.attach());
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, raw.rules_fd(), 0),
            MAP_FAILED);
  void* readable = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, raw.rules_fd(), 0);
  ASSERT_NE(readable, MAP_FAILED);
  EXPECT_NE(::mprotect(readable, 4096, PROT_READ | PROT_WRITE), 0);
  ::munmap(readable, 4096);
  EXPECT_LT(::pwrite(raw.rules_fd(), "x", 1, 0), 0);
  const std::string path = "/proc/self/fd/" + std::to_string(raw.rules_fd());
  const Fd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (again) {
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0),
              MAP_FAILED);
    EXPECT_LT(::pwrite(again.get(), "x", 1, 0), 0);
    EXPECT_NE(::ftruncate(again.get(), 0), 0);
  }
  expect_service();
}

TEST_F(Hostile, PoisonedWordsHealAndAreCounted) {
  RawClient raw(agent.socket());
  ASSERT_TRUE(raw.attach());
  CounterSlot& slot = raw.counters().slot(0);
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t");
  const auto heals = [&](const char* what) {
    EXPECT_TRUE(eventually([&] { return info_of(limit).tokens <= 50; })) << what;
    EXPECT_TRUE(eventually([&] { return weir_try_acquire(limit, 1) == WEIR_ALLOW; })) << what;
    EXPECT_EQ(agent.status().pid(), agent.pid()) << what;
  };
  const auto poison = [&](auto& word, std::uint64_t value, const char* what) {
    using Word = typename std::remove_reference_t<decltype(word)>::value_type;
    word.store(static_cast<Word>(value));
    heals(what);
  };
  for (const std::uint64_t value :
       {UINT64_MAX, std::uint64_t{1} << 63, std::uint64_t{1} << 62, (std::uint64_t{1} << 63) - 1,
        std::uint64_t{0}, std::uint64_t{0x5555555555555555}}) {
    poison(slot.tokens, value, "tokens");
    poison(slot.epoch, value, "epoch");
    poison(slot.closed, value, "closed");
    poison(slot.book, value, "book");
    poison(slot.returned, value, "returned");
    poison(slot.minted_total, value, "minted_total");
  }
  // More tokens than anybody minted, as the word itself counts them. (The poisoned book is first
  // written anew by a mint; an idle agent takes its time.)
  ASSERT_TRUE(eventually([&] {
    weir_try_acquire(limit, 1);
    return decode_level(static_cast<std::uint32_t>(slot.book.load() & 0xfffff)) <= 50;
  }));
  const std::uint64_t before = agent.limit("/t")->forged_total();
  const std::uint64_t word = static_cast<std::uint64_t>(slot.tokens.load());
  poison(slot.tokens, word + 1'000'000, "a million tokens");
  EXPECT_TRUE(eventually([&] { return agent.limit("/t")->forged_total() > before; }))
      << "nobody noticed";
  for (std::uint32_t i = 0; i < raw.counters().geometry().waiters; ++i)
    raw.counters().waiter(i).state.store(~0U);
  heals("waiter cells");
  expect_service();
}

// The office taken by nobody, for as long as a forger can: the agent is back after its longest
// term.
TEST_F(Hostile, AForgedOfficeRunsOut) {
  RawClient raw(agent.socket());
  ASSERT_TRUE(raw.attach());
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t");
  raw.counters().header().office.store(~0ULL);
  EXPECT_TRUE(eventually([&] {
    return !agent.status().domains(0).office_lost() && weir_try_acquire(limit, 1) == WEIR_ALLOW;
  }));
  raw.counters().header().office.store(
      std::uint64_t{77} << 44 |
      ((static_cast<std::uint64_t>(now_ns() + 4'000'000'000) >> 6) & ((1ULL << 44) - 1)));
  std::uint64_t taken = 0;
  weir_drain(limit, &taken);
  EXPECT_TRUE(eventually([&] { return weir_try_acquire(limit, 1) == WEIR_ALLOW; }))
      << "a forged office stops the limit for ever";
}

TEST_F(Hostile, MalformedFramesCostTheirSenderTheConnection) {
  const int fds_before = count_fds(agent.pid());
  const Frame good = make_frame(FrameType::hello, kMajor, kMinor);
  char bytes[4096] = {};
  for (const std::size_t size : {1U, 63U, 65U, 128U, 4096U}) {
    std::memcpy(bytes, &good, sizeof(good));
    RawClient raw(agent.socket());
    ASSERT_TRUE(raw.send(bytes, size));
    EXPECT_TRUE(raw.closed_by_peer(kHangMs)) << size << " bytes";
  }
  const auto refused = [&](auto change, const char* what) {
    Frame frame = good;
    change(frame);
    RawClient raw(agent.socket());
    EXPECT_FALSE(raw.attach(&frame)) << what;
    EXPECT_TRUE(raw.closed_by_peer(kHangMs)) << what;
    return raw.refusal();
  };
  refused([](Frame& f) { f.magic = 0; }, "magic");
  refused([](Frame& f) { f.bytes = 65; }, "length");
  refused([](Frame& f) { f.type = 99; }, "type");
  refused([](Frame& f) { f.type = 5; }, "wait before hello");
  EXPECT_EQ(refused([](Frame& f) { f.major = kMajor + 1; }, "major"), Refusal::version);
  // Often: it is not logged as often.
  for (int i = 0; i < 100; ++i) {
    RawClient raw(agent.socket());
    if (raw.connected()) raw.send("x", 1);
  }
  expect_service();
  const std::string log = agent.log();
  std::size_t lines = 0;
  for (std::size_t at = 0; (at = log.find("malformed", at)) != std::string::npos; ++at)
    ++lines;
  EXPECT_LE(lines, 12U) << "a peer can fill the log";
  EXPECT_TRUE(eventually([&] { return count_fds(agent.pid()) <= fds_before; }));
}

TEST_F(Hostile, AFloodOfDescriptorsIsNotKept) {
  const int fds_before = count_fds(agent.pid());
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  RawClient raw(agent.socket());
  ASSERT_TRUE(raw.attach());
  RawClient silent(agent.socket());
  const Frame doorbell = make_frame(FrameType::doorbell, kMajor, kMinor);
  int most = 0;
  for (int i = 0; i < 100; ++i) {
    raw.send_with_fds(&doorbell, sizeof(doorbell), null.get(), 250);
    most = std::max(most, count_fds(agent.pid()));
  }
  RawClient hello(agent.socket());
  const Frame frame = make_frame(FrameType::hello, kMajor, kMinor);
  hello.send_with_fds(&frame, sizeof(frame), null.get(), 250);
  EXPECT_EQ(agent.status().pid(), agent.pid());  // it has come round its loop
  // Each connection has its socket and its process's pidfd.
  EXPECT_LE(std::max(most, count_fds(agent.pid())), fds_before + 3 * 2 + 2);
  expect_service();
}

// A client that says nothing is dropped after a second; those who attached stay.
TEST_F(Hostile, IdleConnectionsAreDropped) {
  const int fds_before = count_fds(agent.pid());
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 50; ++i)
    idle.push_back(std::make_unique<RawClient>(agent.socket()));
  EXPECT_TRUE(eventually([&] { return count_fds(agent.pid()) > fds_before + 50; }));
  for (const auto& each : idle)
    EXPECT_TRUE(each->closed_by_peer(kHangMs));
  EXPECT_TRUE(eventually([&] { return count_fds(agent.pid()) <= fds_before; }));
  expect_service();
}

// A claim in a frame counts for nothing: another client's waiter cell stays its own.
TEST_F(Hostile, AnothersWaiterCellIsNoneOfItsBusiness) {
  RawClient victim(agent.socket()), thief(agent.socket());
  ASSERT_TRUE(victim.attach());
  ASSERT_TRUE(thief.attach());
  const Client client(agent.socket());
  std::uint64_t taken = 0;
  weir_drain(client.limit("/t"), &taken);
  WaiterCell& cell = victim.counters().waiter(victim.welcome().first);
  cell.limit_generation.store(static_cast<std::uint32_t>(victim.rules().hot(0).load() >> 32));
  cell.tokens.store(1);
  cell.state.store(waiter_word(1, WaiterState::waiting));
  Frame frame = make_frame(FrameType::wait, kMajor, kMinor);
  frame.first = victim.welcome().first;
  frame.count = 1;
  thief.send(&frame, sizeof(frame));
  frame.first = UINT32_MAX;
  thief.send(&frame, sizeof(frame));
  // A frame of its own comes after it, so the other one has been looked at.
  thief.enqueue(0, 0, 1);
  EXPECT_TRUE(eventually([&] { return thief.granted(0); }));
  EXPECT_FALSE(victim.granted(0));
}

TEST_F(Hostile, AUserWhoIsNotListedStaysOutWhateverItSays) {
  if (!is_root()) GTEST_SKIP() << "needs root to become another user";
  SpawnOptions stranger = worker(
      {"attach", "sock=" + agent.socket(), "ms=1", "lane=0", "log=" + (agent.dir() / "calls.log")});
  const CallLog log = CallLog::create(agent.dir() / "calls.log", 1, 1);
  stranger.uid = kStranger - 1;  // rules_of lists kStranger alone
  EXPECT_EQ(Process::spawn(stranger).exit_code(), 0);
  EXPECT_EQ(log.lane(0).a.load(), 0);
  EXPECT_EQ(log.lane(0).last_error.load(), WEIR_E_NOT_ALLOWED);
  stranger.uid = kStranger;
  EXPECT_EQ(Process::spawn(stranger).exit_code(), 0);
  EXPECT_GT(log.lane(0).a.load(), 0);
}

}  // namespace
}  // namespace weir::test
