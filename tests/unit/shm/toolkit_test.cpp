// The toolkit's bytes: what is taken for a toolkit at all, and how the dead are reaped from
// whatever they left.
#include "shm/toolkit.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "adaptive/breaker.h"
#include "adaptive/in_flight.h"
#include "shm/toolkit_reap.h"
#include "shm/view.h"

namespace weir::shm {
namespace {

constexpr std::int64_t kNow = 1'000'000'000'000;

struct Bytes {
  static constexpr std::size_t kMore = 1 << 20;
  RulesGeometry rules_geometry{4};
  CountersGeometry counters_geometry{4, 2, 1, 8, kLaneSets};
  ToolkitGeometry geometry;
  std::vector<std::byte> rules_memory, counters_memory;
  std::byte* rules;
  std::byte* counters;

  explicit Bytes(std::uint32_t resources = 4, std::uint32_t processes = 8,
                 std::uint32_t holders = 32)
      : rules_memory(kMore), counters_memory(kMore) {
    const auto align = [](std::vector<std::byte>& memory) {
      void* at = memory.data();
      std::size_t room = memory.size();
      return static_cast<std::byte*>(std::align(kLineBytes, 1, at, room));
    };
    rules = align(rules_memory);
    counters = align(counters_memory);
    geometry = {resources,
                2,
                processes,
                holders,
                counters_geometry.cpus,
                rules_geometry.bytes(),
                counters_geometry.bytes_with_sets()};
    format_toolkit_rules(rules, geometry);
    format_rules(rules, rules_geometry, 1, 2, 3, 4);
    format_toolkit_counters(counters, geometry);
    format_counters(counters, counters_geometry, 2);
  }
  RulesHeader& rules_header() { return *reinterpret_cast<RulesHeader*>(rules); }
  CountersHeader& counters_header() { return *reinterpret_cast<CountersHeader*>(counters); }
  Result<ToolkitView> toolkit(std::size_t rules_bytes = 0, std::size_t counters_bytes = 0) {
    return toolkit_of({rules, rules_bytes == 0 ? geometry.rules_bytes() : rules_bytes},
                      rules_geometry,
                      {counters, counters_bytes == 0 ? geometry.counters_bytes() : counters_bytes},
                      counters_geometry);
  }
  ToolkitView view() { return *toolkit().operator->(); }
};

TEST(Toolkit, LiesBehindWhatOlderReadersKnow) {
  Bytes bytes;
  const auto rules = validate_rules({bytes.rules, bytes.geometry.rules_bytes()});
  const auto counters = validate_counters({bytes.counters, bytes.geometry.counters_bytes()});
  EXPECT_TRUE(rules);
  EXPECT_TRUE(counters);
  EXPECT_EQ(bytes.rules_header().segment_bytes.load(), bytes.rules_geometry.bytes());
  EXPECT_EQ(bytes.counters_header().segment_bytes.load(), bytes.counters_geometry.bytes());
  EXPECT_TRUE(*bytes.toolkit().operator->());
}

TEST(Toolkit, OlderSegmentsHaveNone) {
  Bytes bytes;
  bytes.counters_header().resources_max.store(0);  // kept from an older agent
  EXPECT_TRUE(bytes.toolkit());
  EXPECT_FALSE(*bytes.toolkit().operator->());
  Bytes other;
  other.rules_header().resources_max.store(0);
  EXPECT_FALSE(*other.toolkit().operator->());
}

TEST(Toolkit, CountsThatDoNotFitAreRefused) {
  EXPECT_FALSE(Bytes().toolkit(Bytes().geometry.rules_bytes() - 1));
  EXPECT_FALSE(Bytes().toolkit(0, Bytes().geometry.counters_bytes() - 1));
  const auto refused = [](auto&& change) {
    Bytes bytes;
    change(bytes);
    return !bytes.toolkit();
  };
  EXPECT_FALSE(refused([](Bytes&) {}));
  EXPECT_TRUE(refused([](Bytes& b) { b.rules_header().resources_max.store(3); }));
  EXPECT_TRUE(refused([](Bytes& b) { b.rules_header().features_max.store(kFeaturesMax + 1); }));
  EXPECT_TRUE(refused([](Bytes& b) { b.rules_header().features_max.store(UINT32_MAX); }));
  EXPECT_TRUE(refused([](Bytes& b) { b.counters_header().processes_max.store(4096); }));
  EXPECT_TRUE(refused([](Bytes& b) { b.counters_header().holders_max.store(UINT32_MAX); }));
  EXPECT_TRUE(refused([](Bytes& b) { b.counters_header().holders_max.store(20'000); }));
  EXPECT_TRUE(refused([](Bytes& b) {
    b.rules_header().resources_max.store(UINT32_MAX);
    b.counters_header().resources_max.store(UINT32_MAX);
  }));
}

TEST(Toolkit, FindsByName) {
  Bytes bytes;
  const ToolkitView view = bytes.view();
  auto& rule = const_cast<ResourceRule&>(view.rule(2));
  std::strcpy(rule.name, "api");
  EXPECT_EQ(find_resource(view, "api"), -1) << "nothing lives there yet";
  rule.hot.store(hot_word(1, kToolActive));
  EXPECT_EQ(find_resource(view, "api"), 2);
  EXPECT_EQ(find_resource(view, "ap"), -1);
  EXPECT_EQ(find_feature(view, "api"), -1);
}

// A process with one cell, stopped by its death at any point of the protocol.
struct Dead {
  Bytes bytes;
  ToolkitView view = bytes.view();
  std::uint64_t owner = 0;
  std::int32_t slot = claim_process(view, 4'000'000, 1, 1, kNow, &owner);
  std::int32_t cell =
      claim_holder(view, {static_cast<std::uint32_t>(slot), process_generation(owner), 1, 7});

  A64& stripe() const { return view.holder(static_cast<std::uint32_t>(cell)).stripe; }
  S64& total() const { return view.counter(1).in_flight; }
  Reaped reap() const { return reap_process(view, static_cast<std::uint32_t>(slot), owner, kNow); }
};

TEST(Reap, WhereverTheHolderDied) {
  using namespace adaptive;
  for (int held = 0; held < 3; ++held)
    for (int point = 0; point < 6; ++point) {
      Dead dead;
      // Another process holds five, and keeps them.
      std::uint64_t living = 0;
      const std::int32_t other = claim_process(dead.view, 77, 1, 1, kNow, &living);
      const std::int32_t cell = claim_holder(
          dead.view, {static_cast<std::uint32_t>(other), process_generation(living), 1, 7});
      A64& stripe = dead.view.holder(static_cast<std::uint32_t>(cell)).stripe;
      stripe.store(stripe_entered(stripe.load(), 5));
      dead.total().store(5 + held);
      std::uint64_t word = stripe_entered(dead.stripe().load(), static_cast<std::uint32_t>(held));
      dead.stripe().store(word);
      // Entering: mark, total, count. Leaving: count, total, mark.
      if (point >= 1 && point <= 2) dead.stripe().store(stripe_entering(word));
      if (point == 2) dead.total().fetch_add(1);
      if (point >= 3 && held > 0) {
        dead.stripe().store(stripe_leaving(word, 1));
        if (point >= 4) dead.total().fetch_sub(1);
        if (point == 5) dead.stripe().store(stripe_settled(stripe_leaving(word, 1)));
      }
      (void)dead.reap();
      EXPECT_EQ(dead.total().load(), 5) << "held " << held << ", died at point " << point;
      EXPECT_EQ(dead.view.holder(static_cast<std::uint32_t>(dead.cell)).claim.load(), 0U);
      EXPECT_EQ(dead.stripe().load(), 0U);
      EXPECT_NE(stripe.load(), 0U);
    }
}

TEST(Reap, TheSlotHasANewGenerationAfterwards) {
  Dead dead;
  (void)dead.reap();
  std::uint64_t owner = 0;
  EXPECT_EQ(claim_process(dead.view, 4'000'000, 1, 1, kNow, &owner), dead.slot);
  EXPECT_EQ(process_generation(owner), process_generation(dead.owner) + 1);
  // A reaper that comes late has the old word, and does nothing.
  EXPECT_EQ(dead.reap().cells, 0U);
  EXPECT_EQ(dead.view.process(static_cast<std::uint32_t>(dead.slot)).owner.load(), owner);
}

// Two hear of one death, and the slower one comes when the slot, its cells and its probe are the
// next process's.
TEST(Reap, ALateReaperTouchesNothingOfTheNextOwner) {
  Dead dead;
  (void)dead.reap();
  std::uint64_t owner = 0;
  ASSERT_EQ(claim_process(dead.view, 4'000'000, 1, 1, kNow, &owner), dead.slot);
  const auto slot = static_cast<std::uint32_t>(dead.slot);
  const std::int32_t cell = claim_holder(dead.view, {slot, process_generation(owner), 1, 7});
  ASSERT_GE(cell, 0);
  HolderCell& holder = dead.view.holder(static_cast<std::uint32_t>(cell));
  holder.stripe.store(adaptive::stripe_entered(holder.stripe.load(), 1));
  dead.total().store(1);
  const adaptive::BreakerWord probing =
      adaptive::breaker_word({.state = adaptive::BreakerState::probing, .owner = slot + 1});
  dead.view.counter(1).breaker.store(probing);

  (void)dead.reap();

  EXPECT_EQ(dead.view.counter(1).breaker.load(), probing);
  EXPECT_NE(holder.claim.load(), 0U);
  EXPECT_EQ(dead.total().load(), 1);
  // A cell that an earlier process of the slot left behind, or somebody forged, is not this one's.
  const HolderClaim forged{slot, process_generation(owner) + 5, 2, 7};
  ASSERT_GE(claim_holder(dead.view, forged), 0);
  EXPECT_EQ(reap_process(dead.view, slot, owner, kNow).cells, 1U);
}

TEST(Reap, AReaperThatDiedIsFollowedByTheNext) {
  Dead dead;
  dead.stripe().store(adaptive::stripe_entered(dead.stripe().load(), 2));
  dead.total().store(2);
  const auto slot = static_cast<std::uint32_t>(dead.slot);
  dead.view.process(slot).owner.store(
      process_word(4'000'000, process_generation(dead.owner), ProcessState::reaping));
  const Reaped reaped = reap_dead(dead.view, 0, kNow);
  EXPECT_EQ(reaped.permits, 2U);
  EXPECT_EQ(dead.total().load(), 0);
  EXPECT_EQ(process_state(dead.view.process(slot).owner.load()), ProcessState::free);
}

TEST(Reap, AClaimThatWasNeverFinishedIsFreedAfterAWhile) {
  Bytes bytes;
  const ToolkitView view = bytes.view();
  view.process(3).owner.store(process_word(9, 5, ProcessState::claiming));
  view.process(3).claimed_mono_ns.store(kNow);
  (void)reap_dead(view, 0, kNow + kClaimNs - 1);
  EXPECT_EQ(process_state(view.process(3).owner.load()), ProcessState::claiming);
  (void)reap_dead(view, 0, kNow + kClaimNs + 1);
  EXPECT_EQ(process_state(view.process(3).owner.load()), ProcessState::free);
}

TEST(Reap, AnUnansweredProbeGoesToTheNext) {
  Dead dead;
  const adaptive::BreakerWord probing =
      adaptive::breaker_word({.state = adaptive::BreakerState::probing,
                              .generation = 3,
                              .owner = static_cast<std::uint32_t>(dead.slot) + 1,
                              .due = UINT32_MAX});
  dead.view.counter(2).breaker.store(probing);
  dead.view.counter(3).breaker.store(probing + (1U << 20));  // another's
  EXPECT_EQ(dead.reap().probes, 1U);
  EXPECT_EQ(adaptive::breaker_fields(dead.view.counter(2).breaker.load()).state,
            adaptive::BreakerState::open);
  EXPECT_EQ(adaptive::breaker_fields(dead.view.counter(3).breaker.load()).state,
            adaptive::BreakerState::probing);
}

TEST(Reap, TheStrayStoreOfOneTakenForDeadCountsForNothing) {
  Dead dead;
  const std::uint64_t stray = adaptive::stripe_entered(dead.stripe().load(), 3);
  (void)dead.reap();
  std::uint64_t owner = 0;
  const std::int32_t slot = claim_process(dead.view, 5, 1, 1, kNow, &owner);
  ASSERT_EQ(
      claim_holder(dead.view, {static_cast<std::uint32_t>(slot), process_generation(owner), 1, 7}),
      dead.cell);
  dead.stripe().store(stray);
  (void)recount(dead.view, 1, kNow + kRecountNs);
  EXPECT_EQ(dead.total().load(), 0);
}

TEST(Reap, OnlyOneRecountsAtATime) {
  Dead dead;
  dead.total().store(9);
  EXPECT_EQ(recount(dead.view, 1, kNow), -9);
  dead.total().store(9);
  EXPECT_EQ(recount(dead.view, 1, kNow + kRecountNs - 1), 0);
  EXPECT_EQ(recount(dead.view, 1, kNow + kRecountNs), -9);
  dead.view.counter(1).recount_mono_ns.store(INT64_MAX);  // damage
  dead.total().store(-4);
  EXPECT_EQ(recount(dead.view, 1, kNow), 4);
  EXPECT_EQ(recount(dead.view, 99, kNow), 0);
}

TEST(Reap, WordsOfAnyValueAreSurvived) {
  Bytes bytes;
  const ToolkitView view = bytes.view();
  std::uint64_t word = 88172645463325252ULL;
  const auto next = [&word] {
    word ^= word << 13;
    word ^= word >> 7;
    return word ^= word << 17;
  };
  for (int round = 0; round < 200; ++round) {
    for (std::size_t i = bytes.geometry.counters_begin; i + 8 <= bytes.geometry.counters_bytes();
         i += 8)
      reinterpret_cast<A64*>(bytes.counters + i)->store(next());
    (void)reap_dead(view, 0, kNow);
    for (std::uint32_t i = 0; i < 8; ++i)
      (void)reap_process(view, i, view.process(i).owner.load(), kNow);
    for (std::uint32_t i = 0; i < 4; ++i) {
      (void)recount(view, i, kNow);
      (void)outcome_totals(view, i);
    }
    for (std::uint32_t i = 0; i < 32; ++i)
      (void)expire_holder(view, i, view.holder(i).stripe.load());
  }
  (void)reap_process(view, UINT32_MAX, 0, kNow);
  (void)expire_holder(view, UINT32_MAX, 0);
}

TEST(Life, KnowsTheLivingTheDeadAndTheStrange) {
  Bytes bytes;
  const ToolkitView view = bytes.view();
  const std::uint64_t here = own_pid_namespace();
  ASSERT_NE(here, 0U);
  const auto self = static_cast<std::uint32_t>(::getpid());
  ASSERT_NE(start_ticks_of(self), 0U);
  std::uint64_t owner = 0;
  const std::int32_t mine = claim_process(view, self, start_ticks_of(self), here, kNow, &owner);
  const ProcessSlot& slot = view.process(static_cast<std::uint32_t>(mine));
  EXPECT_EQ(life_of(slot, here), Life::alive);
  EXPECT_EQ(life_of(slot, here + 1), Life::unknown) << "the number means nothing elsewhere";
  EXPECT_EQ(life_of(slot, 0), Life::unknown);
  // The number of one that lives, but began at another time.
  view.process(static_cast<std::uint32_t>(mine)).start_ticks.fetch_add(1);
  EXPECT_EQ(life_of(slot, here), Life::dead);

  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t seen{};
  ::waitid(P_PID, static_cast<id_t>(child), &seen, WEXITED | WNOWAIT);  // a zombie from here on
  const std::int32_t theirs =
      claim_process(view, static_cast<std::uint32_t>(child), 0, here, kNow, &owner);
  EXPECT_EQ(life_of(view.process(static_cast<std::uint32_t>(theirs)), here), Life::dead);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(life_of(view.process(static_cast<std::uint32_t>(theirs)), here), Life::dead);
}

TEST(Lease, AHolderThatDoesNotMoveLosesItsPermits) {
  Dead dead;
  const std::uint64_t word = adaptive::stripe_entered(dead.stripe().load(), 2);
  dead.stripe().store(word);
  dead.total().store(2);
  LeaseWatch watch;
  EXPECT_FALSE(watch.expired(word, kNow, 1000));
  EXPECT_FALSE(watch.expired(word, kNow + 1000, 1000));
  EXPECT_FALSE(watch.expired(word, kNow + 5000, 0)) << "no lease";
  EXPECT_TRUE(watch.expired(word, kNow + 1001, 1000));
  EXPECT_FALSE(watch.expired(word, kNow - 1, 1000)) << "a clock that was set back begins anew";
  const std::uint64_t moved = adaptive::stripe_settled(word);
  EXPECT_FALSE(watch.expired(moved, kNow + 9000, 1000));
  EXPECT_FALSE(watch.expired(0, kNow + 99'000, 1000)) << "nobody is there";

  const auto cell = static_cast<std::uint32_t>(dead.cell);
  EXPECT_EQ(expire_holder(dead.view, cell, moved), 0U) << "it has moved meanwhile";
  EXPECT_EQ(expire_holder(dead.view, cell, word), 2U);
  EXPECT_EQ(dead.total().load(), 0);
}

}  // namespace
}  // namespace weir::shm
