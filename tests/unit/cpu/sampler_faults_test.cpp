// What the sampler says when counters jump, files come and go, CPUs are plugged
// and the process is moved: never a wrong figure, never a zero for "unknown".

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "agent/cpu/sampler.h"
#include "recorded_files.h"

namespace weir::agent {
namespace {

// A v2 container of 1.5 CPUs on a machine of 8. The test sets how busy each is.
class FaultyMachine : public testing::Test {
 protected:
  FaultyMachine() {
    write(true, true);
    sampler_.sample(now_mono_ns_);
  }

  void write(bool host, bool cgroup) {
    if (host)
      files_.set("/proc/stat", "cpu  " + std::to_string(busy_) + " 0 0 " +
                                   std::to_string(total_ - busy_) + " 0 0 0 0 0 0\n");
    if (cgroup) files_.set(kRoot + "/cpu.stat", "usage_usec " + std::to_string(usage_usec_) + "\n");
  }

  // One step of 100 ms: the host at 40 %, the cgroup at 80 % of its 1.5 CPUs.
  const CpuSample& step(bool host = true, bool cgroup = true) {
    now_mono_ns_ += kStepNs;
    total_ += 1000;
    busy_ += 400;
    usage_usec_ += 120'000;
    write(host, cgroup);
    return sampler_.sample(now_mono_ns_);
  }

  RecordedFiles files_{"v2_container_quota"};
  CpuSampler sampler_{files_};
  std::int64_t now_mono_ns_ = 50 * kSecondNs;
  std::uint64_t busy_ = 1'000'000;
  std::uint64_t total_ = 9'000'000;
  std::uint64_t usage_usec_ = 55'000'000;
};

TEST_F(FaultyMachine, IsWholeToBeginWith) {
  const CpuSample& sample = step();

  EXPECT_EQ(sample.usage_permille, 800u);
  EXPECT_EQ(sample.host_usage_permille, 400u);
}

TEST_F(FaultyMachine, ReturnsTheSampleBeforeWhenNoTimePassed) {
  const CpuSample first = step();
  usage_usec_ += 1'000'000;
  write(true, true);

  const CpuSample& again = sampler_.sample(now_mono_ns_);

  EXPECT_EQ(again.usage_permille, first.usage_permille);
  EXPECT_EQ(again.attempted_at_mono_ns, first.attempted_at_mono_ns);
  EXPECT_EQ(sampler_.sample(now_mono_ns_ + CpuSampler::kIntervalMinNs - 1).usage_permille,
            first.usage_permille);
}

TEST_F(FaultyMachine, HasNoValueForTheIntervalInWhichHostCountersRanBackwards) {
  step();
  busy_ = total_ = 0;

  const CpuSample jumped = step();
  const CpuSample after = step();

  EXPECT_FALSE(jumped.usage_permille);
  EXPECT_EQ(jumped.blind, CpuBlind::counters_jumped);
  EXPECT_EQ(jumped.smoothed_permille, 800u);                  // stands
  EXPECT_EQ(jumped.age_ns(now_mono_ns_ - kStepNs), kStepNs);  // and its age says so
  EXPECT_EQ(after.usage_permille, 800u);
}

TEST_F(FaultyMachine, HasNoValueForTheIntervalInWhichCgroupCountersRanBackwards) {
  step();
  usage_usec_ = 5;

  EXPECT_EQ(step().blind, CpuBlind::counters_jumped);
  EXPECT_EQ(sampler_.last().host_usage_permille, 400u);
  EXPECT_EQ(step().usage_permille, 800u);
}

// iowait and idle run backwards on healthy kernels. They grew by nothing then,
// and the rest of the line is as good as ever.
TEST_F(FaultyMachine, BearsIowaitThatRunsBackwards) {
  files_.set("/proc/stat", "cpu 100 0 0 1000 500 0 0 0 0 0\n");
  sampler_.sample(now_mono_ns_ += kStepNs);
  sampler_.sample(now_mono_ns_ += kStepNs);
  files_.set("/proc/stat", "cpu 130 0 0 1070 490 0 0 0 0 0\n");

  EXPECT_EQ(sampler_.sample(now_mono_ns_ += kStepNs).host_usage_permille, 300u);
}

TEST_F(FaultyMachine, FollowsAQuotaThatChangesLive) {
  step();
  files_.set(kRoot + "/cpu.max", "300000 100000\n");

  const CpuSample& sample = step();

  EXPECT_EQ(sample.capacity_millicpus, 3000u);
  EXPECT_EQ(sample.cgroup_usage_permille, 400u);
}

// Without the hold, the maximum would fall to the host's 400 for as long as the
// file is away, and a gate at 600 would open and close.
TEST_F(FaultyMachine, DoesNotFallToTheHostWhileTheCgroupIsUnreadableForAMoment) {
  step();
  files_.remove(kRoot + "/cpu.stat");

  const CpuSample gone = step(true, false);
  const CpuSample back = step();
  const CpuSample whole = step();

  EXPECT_FALSE(gone.usage_permille);
  EXPECT_EQ(gone.blind, CpuBlind::cgroup_unreadable);
  EXPECT_EQ(gone.smoothed_permille, 800u);
  EXPECT_EQ(gone.capacity_millicpus, 1500u);
  EXPECT_EQ(back.blind, CpuBlind::first_sample);
  EXPECT_EQ(whole.usage_permille, 800u);
}

TEST_F(FaultyMachine, FallsToTheHostWhenTheCgroupStaysAway) {
  step();
  files_.remove(kRoot + "/cpu.stat");
  for (int i = 0; i < 60; ++i)
    step(true, false);

  const CpuSample& sample = sampler_.last();

  EXPECT_EQ(sample.usage_permille, 400u);
  EXPECT_EQ(sample.source, CpuSource::host);
  EXPECT_EQ(sample.cgroup_blind, CpuBlind::cgroup_unreadable);
}

TEST_F(FaultyMachine, LosesEvenTheSmoothedValueWhenEverythingStaysAway) {
  step();
  files_.all().clear();
  for (int i = 0; i < 49; ++i)
    step(false, false);
  EXPECT_EQ(sampler_.last().smoothed_permille, 800u);

  const CpuSample& sample = step(false, false);

  EXPECT_FALSE(sample.usage_permille);
  EXPECT_FALSE(sample.smoothed_permille);
  EXPECT_FALSE(sample.capacity_millicpus);
  EXPECT_EQ(sample.source, CpuSource::none);
  EXPECT_EQ(sample.blind, CpuBlind::host_unreadable);
  EXPECT_EQ(sample.age_ns(now_mono_ns_), 50 * kStepNs);
}

TEST_F(FaultyMachine, ComesBackWithAFreshValueNotWithTheOldAverage) {
  step();
  const auto recorded = files_.all();
  files_.all().clear();
  for (int i = 0; i < 60; ++i)
    step(false, false);
  files_.all() = recorded;
  files_.set(kRoot + "/cpu.max", "max 100000\n");  // 1.2 of 4 CPUs: below the host
  for (int i = 0; i < 12; ++i)
    step();

  EXPECT_EQ(sampler_.last().smoothed_permille, 400u);
}

// A CPU that comes back brings the idle time of its absence with it.
TEST_F(FaultyMachine, HasNoHostValueForTheIntervalInWhichACpuWasPlugged) {
  step();
  files_.set("/sys/devices/system/cpu/online", "0-2\n");
  total_ += 500'000;

  const CpuSample plugged = step();
  const CpuSample after = step();

  EXPECT_FALSE(plugged.host_usage_permille);
  EXPECT_EQ(plugged.blind, CpuBlind::cpus_changed);
  EXPECT_EQ(plugged.online_cpu_count, 3u);
  EXPECT_EQ(plugged.cpuset_cpu_count, 3u);
  EXPECT_EQ(after.host_usage_permille, 400u);
}

TEST_F(FaultyMachine, KeepsTheHostValueUntilATickPassesButNotForEver) {
  step();

  EXPECT_EQ(step(false, true).host_usage_permille, 400u);
  for (int i = 0; i < 50; ++i)
    step(false, true);
  EXPECT_FALSE(sampler_.last().host_usage_permille);
  EXPECT_EQ(sampler_.last().usage_permille, 800u);  // the cgroup's alone by now
}

TEST_F(FaultyMachine, NoticesWithinTenSecondsThatTheProcessWasMoved) {
  step();
  files_.set("/proc/self/cgroup", "0::/moved\n");
  files_.set(kRoot + "/moved/cpu.max", "10000 100000\n");
  files_.set(kRoot + "/moved/cpu.stat", "usage_usec 7\n");
  EXPECT_EQ(step().capacity_millicpus, 1500u);

  for (int i = 0; i < 100; ++i)
    step();

  EXPECT_EQ(sampler_.last().capacity_millicpus, 100u);
  EXPECT_EQ(sampler_.last().cgroup_usage_permille, 0u);
  EXPECT_EQ(sampler_.last().ancestor_usage_permille, 800u);
}

TEST_F(FaultyMachine, LooksAgainWithinASecondWhenItsCgroupIsGone) {
  step();
  files_.set("/proc/self/cgroup", "0::/moved\n");
  files_.set(kRoot + "/moved/cpu.stat", "usage_usec 7\n");
  files_.remove(kRoot + "/cpu.stat");

  for (int i = 0; i < 12; ++i)
    step(true, false);

  EXPECT_EQ(sampler_.last().cgroup_usage_permille, 0u);
}

TEST_F(FaultyMachine, BeginsAgainWhenTimeItselfRunsBackwards) {
  step();
  now_mono_ns_ = 3 * kSecondNs;

  const CpuSample restored = step();
  const CpuSample after = step();

  EXPECT_EQ(restored.blind, CpuBlind::first_sample);
  EXPECT_FALSE(restored.smoothed_permille);
  EXPECT_EQ(after.usage_permille, 800u);
}

TEST_F(FaultyMachine, CountsThrottlingUpwardsEvenWhenTheKernelStartsAgain) {
  const auto throttle = [this](int periods, int throttled, int usec) {
    now_mono_ns_ += kStepNs;
    files_.set(kRoot + "/cpu.stat", "usage_usec 1\nnr_periods " + std::to_string(periods) +
                                        "\nnr_throttled " + std::to_string(throttled) +
                                        "\nthrottled_usec " + std::to_string(usec) + "\n");
    return sampler_.sample(now_mono_ns_);
  };
  throttle(100, 50, 5000);
  throttle(104, 53, 5600);
  EXPECT_FALSE(throttle(0, 0, 0).throttled_permille);

  const CpuSample sample = throttle(2, 1, 100);

  EXPECT_EQ(sample.throttled_permille, 500u);
  EXPECT_EQ(sample.throttled_periods_total, 4u);
  EXPECT_EQ(sample.quota_periods_total, 6u);
  EXPECT_EQ(sample.throttled_total_usec, 700u);
}

std::string pressure_text(int total_usec) {
  return "some avg10=1.00 avg60=1.00 avg300=1.00 total=" + std::to_string(total_usec) + "\n";
}

TEST_F(FaultyMachine, HasNoPressureShareForAnIntervalInWhichTheTotalFell) {
  files_.set("/proc/pressure/cpu", pressure_text(90'000'000));
  step();
  files_.set("/proc/pressure/cpu", pressure_text(5));

  const CpuSample fallen = step();
  files_.set("/proc/pressure/cpu", pressure_text(10'005));
  const CpuSample after = step();

  EXPECT_FALSE(fallen.host_pressure.some_permille);
  EXPECT_EQ(fallen.host_pressure.some_avg10_centipercent, 100u);
  EXPECT_EQ(after.host_pressure.some_permille, 100u);
}

// The totals of two cgroups have nothing to do with each other.
TEST_F(FaultyMachine, DoesNotSubtractThePressureOfOneCgroupFromAnothers) {
  files_.set(kRoot + "/cpu.pressure", pressure_text(1000));
  step();
  files_.set("/proc/self/cgroup", "0::/moved\n");
  files_.set(kRoot + "/moved/cpu.stat", "usage_usec 7\n");
  files_.set(kRoot + "/moved/cpu.pressure", pressure_text(70'000'000));
  now_mono_ns_ += 10 * kSecondNs;

  const CpuSample moved = step();
  const CpuSample after = step();

  EXPECT_EQ(moved.cgroup_pressure.some_total_usec, 70'000'000u);
  EXPECT_FALSE(moved.cgroup_pressure.some_permille);
  EXPECT_EQ(after.cgroup_pressure.some_permille, 0u);
}

TEST(MaskedProc, IsBlindAndSaysWhy) {
  RecordedFiles files("masked_proc");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_FALSE(sample.usage_permille);
  EXPECT_FALSE(sample.capacity_millicpus);
  EXPECT_EQ(sample.blind, CpuBlind::host_unreadable);
  EXPECT_EQ(sample.cgroup_blind, CpuBlind::no_cgroup_mount);
}

TEST(AnyMachine, NeverGivesAFigureOutOfRangeHoweverItsFilesAreSpoilt) {
  std::minstd_rand random(11);
  for (const char* scenario : {"hybrid_host/first", "v1_quota/first", "v2_nested_quota"}) {
    RecordedFiles files(scenario);
    const auto recorded = files.all();
    CpuOptions options;
    options.rediscover_ns = 0;
    CpuSampler sampler(files, options);
    for (int round = 0; round < 2000; ++round) {
      files.all() = recorded;
      for (auto& [path, text] : files.all())
        for (int i = 0; i < 2 && !text.empty() && random() % 3 == 0; ++i)
          text[random() % text.size()] = static_cast<char>(random() % 256);
      const CpuSample& sample = sampler.sample((round + 1) * kStepNs);
      EXPECT_LE(sample.usage_permille.value_or(0), 1000u);
      EXPECT_LE(sample.smoothed_permille.value_or(0), 1000u);
      EXPECT_LE(sample.ancestor_usage_permille.value_or(0), 1000u);
      EXPECT_LE(sample.throttled_permille.value_or(0), 1000u);
      EXPECT_GE(sample.capacity_millicpus.value_or(1), 1u);
      EXPECT_EQ(sample.usage_permille.has_value(), sample.blind == CpuBlind::none);
    }
  }
}

}  // namespace
}  // namespace weir::agent
