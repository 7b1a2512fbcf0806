#include "agent/cpu/group.h"

#include <gtest/gtest.h>

#include <string>

#include "recorded_files.h"

namespace weir::agent {
namespace {

constexpr std::uint32_t kCpuCount = 4;
const std::string kPod =
    kRoot + "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f8e.slice";
const std::string kSelf = kPod + "/cri-containerd-4f1c0e7f0ad6.scope";

// A container without a limit of its own in a pod of 500 millicpus.
class GroupMeterInAPod : public testing::Test {
 protected:
  GroupMeterInAPod() {
    meter_.move_to(
        find_place(files_.text("/proc/self/cgroup"), files_.text("/proc/self/mountinfo")));
  }

  GroupFigures measure() { return meter_.measure(files_, now_mono_ns_, kCpuCount); }

  RecordedFiles files_{"v2_nested_quota"};
  GroupMeter meter_;
  std::int64_t now_mono_ns_ = 100 * kSecondNs;
};

TEST_F(GroupMeterInAPod, KnowsTheQuotaAtOnceAndTheUseOnlyAfterAnInterval) {
  const auto figures = measure();

  EXPECT_EQ(figures.blind, CpuBlind::first_sample);
  EXPECT_EQ(figures.quota_millicpus, 500u);
  EXPECT_FALSE(figures.used_millicpus);
  EXPECT_FALSE(figures.busiest_permille);
  EXPECT_FALSE(figures.throttling);
}

// The sibling container eats the pod's quota: self uses a tenth of it, and yet
// there is next to nothing left.
TEST_F(GroupMeterInAPod, SeesAnAncestorThatSiblingsHaveFilled) {
  measure();
  now_mono_ns_ += kSecondNs;
  files_.set(kSelf + "/cpu.stat", "usage_usec 30050000\n");
  files_.set(kPod + "/cpu.stat",
             "usage_usec 80490000\nnr_periods 4010\nnr_throttled 2509\nthrottled_usec 60800000\n");

  const auto figures = measure();

  EXPECT_EQ(figures.blind, CpuBlind::none);
  EXPECT_EQ(figures.used_millicpus, 50u);
  EXPECT_EQ(figures.busiest_permille, 980u);
  ASSERT_TRUE(figures.throttling);
  EXPECT_EQ(figures.throttling->permille, 900u);
  EXPECT_EQ(figures.throttling->millicpus, 800u);
  EXPECT_EQ(figures.throttling->throttled_usec, 800'000u);
  EXPECT_EQ(figures.throttling->throttled_periods, 9u);
  EXPECT_EQ(figures.throttling->periods, 10u);
}

TEST_F(GroupMeterInAPod, TakesTheSmallestQuotaWhereverItStands) {
  files_.set(kSelf + "/cpu.max", "200000 100000\n");
  files_.set(kRoot + "/kubepods.slice/cpu.max", "30000 100000\n");

  EXPECT_EQ(measure().quota_millicpus, 300u);
}

TEST_F(GroupMeterInAPod, FollowsAQuotaThatChangesLive) {
  measure();
  files_.set(kPod + "/cpu.max", "200000 100000\n");
  EXPECT_EQ(measure().quota_millicpus, 2000u);

  files_.set(kPod + "/cpu.max", "max 100000\n");
  EXPECT_FALSE(measure().quota_millicpus);
}

TEST_F(GroupMeterInAPod, KeepsAQuotaWhoseFileVanishesForAMoment) {
  measure();
  files_.remove(kPod + "/cpu.max");
  now_mono_ns_ += kSecondNs;
  EXPECT_EQ(measure().quota_millicpus, 500u);

  now_mono_ns_ += 2 * kSecondNs;
  EXPECT_FALSE(measure().quota_millicpus);
}

TEST_F(GroupMeterInAPod, TakesACounterThatRanBackwardsForANewOne) {
  measure();
  now_mono_ns_ += kSecondNs;
  files_.set(kSelf + "/cpu.stat", "usage_usec 1000\n");
  EXPECT_EQ(measure().blind, CpuBlind::counters_jumped);

  now_mono_ns_ += kSecondNs;
  files_.set(kSelf + "/cpu.stat", "usage_usec 251000\n");
  const auto figures = measure();

  EXPECT_EQ(figures.blind, CpuBlind::none);
  EXPECT_EQ(figures.used_millicpus, 250u);
}

TEST_F(GroupMeterInAPod, DoesNotTakeAJumpForWork) {
  measure();
  now_mono_ns_ += kSecondNs;
  files_.set(kSelf + "/cpu.stat", "usage_usec 18446744073709551\n");

  const auto figures = measure();

  EXPECT_EQ(figures.blind, CpuBlind::counters_jumped);
  EXPECT_FALSE(figures.used_millicpus);
}

TEST_F(GroupMeterInAPod, CountsNothingWhenNoTimePassed) {
  measure();
  files_.set(kSelf + "/cpu.stat", "usage_usec 30050000\n");

  const auto figures = measure();

  EXPECT_FALSE(figures.used_millicpus);
  EXPECT_EQ(figures.blind, CpuBlind::first_sample);
}

TEST_F(GroupMeterInAPod, SaysNoThrottlingWhenNoPeriodPassed) {
  measure();
  now_mono_ns_ += kSecondNs;

  const auto figures = measure();

  ASSERT_TRUE(figures.throttling);
  EXPECT_EQ(figures.throttling->permille, 0u);
  EXPECT_EQ(figures.used_millicpus, 0u);  // a measured zero
}

TEST_F(GroupMeterInAPod, StartsAfreshOnlyWhenTheProcessMoved) {
  const CgroupPlace same = meter_.place();
  measure();
  now_mono_ns_ += kSecondNs;
  meter_.move_to(same);
  EXPECT_EQ(measure().blind, CpuBlind::none);

  CgroupPlace moved = same;
  moved.levels.erase(moved.levels.begin());
  meter_.move_to(moved);
  now_mono_ns_ += kSecondNs;
  EXPECT_EQ(measure().blind, CpuBlind::first_sample);
}

}  // namespace
}  // namespace weir::agent
