// What the kernel refuses, and what a reader refuses to map.
#include "shm/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "shm/view.h"

namespace weir::shm {
namespace {

struct Made {
  Fd fd;
  Mapping map;
};

Made rules_segment(bool seal = true) {
  const RulesGeometry g{4};
  Made made;
  auto fd = make_segment("weir.test", g.bytes());
  EXPECT_TRUE(fd);
  made.fd = std::move(*fd);
  auto map = map_segment(made.fd.get(), g.bytes(), true);
  EXPECT_TRUE(map);
  made.map = std::move(*map);
  format_rules(made.map.data(), g, 1, 2, 3, 4);
  if (seal) {
    EXPECT_TRUE(seal_segment(made.fd.get(), SegmentKind::rules));
  }
  return made;
}

// H1
TEST(Segment, NobodyCanShrinkOrGrowASealedSegment) {
  const Made rules = rules_segment();
  EXPECT_EQ(::ftruncate(rules.fd.get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(rules.fd.get(), 1 << 30), -1);
}

// H2: not even root, not even through /proc.
TEST(Segment, NobodyCanMapTheRulesForWritingAgain) {
  const Made rules = rules_segment();
  EXPECT_FALSE(map_segment(rules.fd.get(), 4096, true));
  const std::string path = "/proc/self/fd/" + std::to_string(rules.fd.get());
  const Fd again(::open(path.c_str(), O_RDWR));
  if (again) {
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0),
              MAP_FAILED);
    EXPECT_EQ(::pwrite(again.get(), "x", 1, 0), -1);
  }
  rules.map.data()[0] = std::byte{1};  // its maker still writes
}

TEST(Segment, SealsAreFinal) {
  const Made rules = rules_segment();
  EXPECT_EQ(::fcntl(rules.fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

TEST(Segment, AnUnsealedSegmentIsNotMapped) {
  const Made rules = rules_segment(false);
  const auto checked = check_segment(rules.fd.get(), SegmentKind::rules);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, Errc::not_sealed);
}

TEST(Segment, CountersSealsAreNotEnoughForRules) {
  const Made rules = rules_segment(false);
  ASSERT_TRUE(seal_segment(rules.fd.get(), SegmentKind::counters));
  EXPECT_FALSE(check_segment(rules.fd.get(), SegmentKind::rules));
  EXPECT_TRUE(check_segment(rules.fd.get(), SegmentKind::counters));
}

TEST(Segment, AFileThatIsNoMemfdIsNotMapped) {
  const Fd file(::open("/proc/self/exe", O_RDONLY));
  EXPECT_FALSE(check_segment(file.get(), SegmentKind::counters));
}

// D1: no memory is an error when the segment is made, never a signal later. A memfd's only other
// bound is the machine's memory, so the test lowers the file size limit instead of filling that.
TEST(Segment, WantOfMemoryIsAnErrorNow) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 64 * 1024, before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto made = make_segment("weir.test", 1024 * 1024);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().os_error, EFBIG);
}

// And D1 from the other side: what was made has its memory already, before anybody touches it. A
// file that was only made long would fail its first user with a signal.
TEST(Segment, ItsMemoryIsThereBeforeAnybodyTouchesIt) {
  constexpr std::size_t kBytes = 1024 * 1024;
  const auto made = make_segment("weir.test", kBytes);
  ASSERT_TRUE(made);
  struct stat status {};
  ASSERT_EQ(::fstat(made->get(), &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(kBytes));
  EXPECT_GE(static_cast<std::size_t>(status.st_blocks) * 512, kBytes);
}

TEST(View, NamesWhatIsWrongWithAHeader) {
  Made rules = rules_segment();
  auto& h = *reinterpret_cast<RulesHeader*>(rules.map.data());
  const auto code = [&] { return validate_rules(rules.map.bytes()).error().code; };
  ASSERT_TRUE(validate_rules(rules.map.bytes()));
  EXPECT_EQ(validate_rules(rules.map.bytes().first(100)).error().code, Errc::too_small);
  EXPECT_EQ(validate_rules(rules.map.bytes().first(sizeof(RulesHeader))).error().code,
            Errc::bad_geometry);
  h.limits_max = 0;
  EXPECT_EQ(code(), Errc::bad_geometry);
  h.limits_max = 0xffffffff;
  EXPECT_EQ(code(), Errc::bad_geometry);
  h.limits_max = 50;
  EXPECT_EQ(code(), Errc::bad_geometry);
  h.limits_max = 4;
  h.rule_slot_bytes = 8;
  EXPECT_EQ(code(), Errc::bad_geometry);
  h.rule_slot_bytes = sizeof(RuleSlot);
  h.magic = 0;
  EXPECT_EQ(code(), Errc::bad_magic);
  h.magic = kRulesMagic;
  h.version = version_word(kMajor + 1, 0);
  EXPECT_EQ(code(), Errc::wrong_major);
  h.version = version_word(kMajor, kMinor + 7);
  EXPECT_TRUE(validate_rules(rules.map.bytes())) << "a newer minor version is welcome";
  h.version = 0;
  EXPECT_EQ(code(), Errc::not_ready);
}

TEST(View, RefusesEveryCountersGeometryThatDoesNotFit) {
  const CountersGeometry g{4, 2, 1, 8};
  std::vector<std::byte> memory(g.bytes() + kLineBytes);
  auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  std::byte* base = memory.data() + (kLineBytes - address % kLineBytes) % kLineBytes;
  format_counters(base, g, 77);
  const std::span<const std::byte> bytes(base, g.bytes());
  ASSERT_TRUE(validate_counters(bytes));
  auto& h = *reinterpret_cast<CountersHeader*>(base);
  for (A32* count : {&h.limits_max, &h.cpus, &h.stripe_sets, &h.waiters}) {
    const std::uint32_t good = count->load();
    for (const std::uint32_t bad : {good + 100, 0xffffffffU, 0x80000000U}) {
      count->store(bad);
      EXPECT_FALSE(validate_counters(bytes)) << bad;
    }
    count->store(good);
  }
}

TEST(View, FindsLimitsInTheTableThatIsValid) {
  Made rules = rules_segment();
  const RulesWriter w(rules.map.data(), RulesGeometry{4});
  RuleSlot& slot = w.rule(1, 2);
  slot.state = static_cast<std::uint32_t>(SlotState::active);
  std::snprintf(slot.name, sizeof(slot.name), "a");
  EXPECT_EQ(find_limit(w.view(), "a"), -1) << "the other table is valid";
  w.header().table_flip = 3;
  EXPECT_EQ(find_limit(w.view(), "a"), 2);
  EXPECT_EQ(find_limit(w.view(), "ab"), -1);
}

}  // namespace
}  // namespace weir::shm
