// What the sampler says on machines that are whole. Machines that are not are in
// sampler_faults_test.cpp.

#include "agent/cpu/sampler.h"

#include <gtest/gtest.h>

#include <string>

#include "recorded_files.h"

namespace weir::agent {
namespace {

// One CPU; `busy` of `total` ticks since the machine began.
std::string stat_text(std::uint64_t busy, std::uint64_t total) {
  return "cpu  " + std::to_string(busy) + " 0 0 " + std::to_string(total - busy) +
         " 0 0 0 0 0 0\n" + "cpu0 0 0 0 0 0 0 0 0 0 0\n";
}

// A bare machine of which the test says how busy it is, step by step.
class BareHost {
 public:
  explicit BareHost(CpuOptions options = {}) : sampler_(files_, std::move(options)) {
    files_.set("/proc/stat", stat_text(0, 0));
    sampler_.sample(now_mono_ns_);
  }

  const CpuSample& step(std::uint64_t busy_permille, std::int64_t elapsed_ns = kStepNs) {
    total_ += 1000;
    busy_ += busy_permille;
    now_mono_ns_ += elapsed_ns;
    files_.set("/proc/stat", stat_text(busy_, total_));
    return sampler_.sample(now_mono_ns_);
  }

 private:
  RecordedFiles files_;
  CpuSampler sampler_;
  std::int64_t now_mono_ns_ = 50 * kSecondNs;
  std::uint64_t busy_ = 0;
  std::uint64_t total_ = 0;
};

TEST(CpuSampler, HasNoValueButAReasonBeforeAndAtTheFirstSample) {
  RecordedFiles files("hybrid_host/first");
  CpuSampler sampler(files);
  EXPECT_EQ(sampler.last().blind, CpuBlind::never_sampled);

  const CpuSample& sample = sampler.sample(kSecondNs);

  EXPECT_FALSE(sample.usage_permille);
  EXPECT_FALSE(sample.smoothed_permille);
  EXPECT_FALSE(sample.age_ns(2 * kSecondNs));
  EXPECT_EQ(sample.source, CpuSource::none);
  EXPECT_EQ(sample.blind, CpuBlind::first_sample);
  EXPECT_FALSE(cpu_blind_text(sample.blind).empty());
  EXPECT_EQ(sample.capacity_millicpus, 2000u);
}

// Two recordings of a hybrid machine, a second apart, in which one process ran
// against a quota of half a CPU.
TEST(CpuSampler, MeasuresAHybridHost) {
  RecordedFiles files("hybrid_host/first");
  CpuSampler sampler(files);
  sampler.sample(files.now_mono_ns());
  files.load("hybrid_host/second");

  const CpuSample& sample = sampler.sample(files.now_mono_ns());

  EXPECT_EQ(sample.source, CpuSource::hybrid);
  EXPECT_EQ(sample.blind, CpuBlind::none);
  EXPECT_EQ(sample.cgroup_blind, CpuBlind::none);
  EXPECT_EQ(sample.host_usage_permille, 266u);    // 54 of 203 ticks
  EXPECT_EQ(sample.cgroup_used_millicpus, 508u);  // 510,085,587 ns in 1,004,334,402
  EXPECT_EQ(sample.cgroup_usage_permille, 254u);
  EXPECT_EQ(sample.usage_permille, 266u);
  EXPECT_EQ(sample.smoothed_permille, 266u);
  EXPECT_EQ(sample.capacity_millicpus, 2000u);
  EXPECT_FALSE(sample.quota_millicpus);
  EXPECT_EQ(sample.online_cpu_count, 2u);
  EXPECT_EQ(sample.cpuset_cpu_count, 2u);
  EXPECT_TRUE(sample.host_pressure.some_permille);
  EXPECT_TRUE(sample.cgroup_pressure.some_avg10_centipercent);
}

TEST(CpuSampler, MeasuresThrottlingUnderV1ThatAverageUseOfTheHostHides) {
  RecordedFiles files("v1_quota/first");
  CpuSampler sampler(files);
  sampler.sample(files.now_mono_ns());
  files.load("v1_quota/second");

  const CpuSample& sample = sampler.sample(files.now_mono_ns());

  EXPECT_EQ(sample.source, CpuSource::cgroup_v1);
  EXPECT_EQ(sample.host_usage_permille, 266u);
  EXPECT_EQ(sample.quota_millicpus, 500u);  // its own; the parent has 1200
  EXPECT_EQ(sample.capacity_millicpus, 500u);
  EXPECT_EQ(sample.cgroup_usage_permille, 998u);
  EXPECT_EQ(sample.ancestor_usage_permille, 416u);
  EXPECT_EQ(sample.usage_permille, 998u);
  EXPECT_EQ(sample.throttled_permille, 1000u);  // 10 periods of 10
  EXPECT_EQ(sample.throttled_millicpus, 496u);
  EXPECT_EQ(sample.throttled_total_usec, 498'366u);
  EXPECT_EQ(sample.throttled_periods_total, 10u);
  EXPECT_EQ(sample.quota_periods_total, 10u);
}

TEST(CpuSampler, MeasuresAV1ContainerAgainstItsQuota) {
  RecordedFiles files("v1_container");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);
  files.set(kRoot + "/cpu,cpuacct/cpuacct.usage", "74000000000\n");

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_EQ(sample.cgroup_usage_permille, 500u);
  EXPECT_EQ(sample.capacity_millicpus, 2000u);
}

TEST(CpuSampler, MeasuresAV2ContainerAgainstItsQuota) {
  RecordedFiles files("v2_container_quota");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);
  files.set(kRoot + "/cpu.stat",
            "usage_usec 56200000\nnr_periods 1210\nnr_throttled 303\nthrottled_usec 9100000\n");
  files.set(kRoot + "/cpu.pressure", "some avg10=15.50 avg60=9.00 avg300=3.00 total=7250000\n");

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_EQ(sample.source, CpuSource::cgroup_v2);
  EXPECT_EQ(sample.capacity_millicpus, 1500u);
  EXPECT_EQ(sample.cpuset_cpu_count, 4u);
  EXPECT_EQ(sample.online_cpu_count, 8u);
  EXPECT_EQ(sample.cgroup_used_millicpus, 1200u);
  EXPECT_EQ(sample.cgroup_usage_permille, 800u);
  EXPECT_EQ(sample.throttled_permille, 300u);
  EXPECT_EQ(sample.throttled_millicpus, 100u);
  EXPECT_EQ(sample.cgroup_pressure.some_avg10_centipercent, 1550u);
  EXPECT_EQ(sample.cgroup_pressure.some_permille, 250u);
  EXPECT_EQ(sample.host_pressure.some_avg10_centipercent, 125u);
}

TEST(CpuSampler, TakesTheQuotaOfAnAncestorForCapacity) {
  RecordedFiles files("v2_nested_quota");
  CpuSampler sampler(files);

  const CpuSample& sample = sampler.sample(kSecondNs);

  EXPECT_EQ(sample.quota_millicpus, 500u);
  EXPECT_EQ(sample.capacity_millicpus, 500u);
  EXPECT_EQ(sample.cpuset_cpu_count, 3u);  // from the nearest ancestor that has the file
}

// Siblings have filled the pod's quota. There is nothing left to run on, however
// idle the container itself and the host are.
TEST(CpuSampler, ActsOnAnAncestorThatIsFullerThanSelf) {
  RecordedFiles files("v2_nested_quota");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);
  files.set(
      kRoot + "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f8e.slice/cpu.stat",
      "usage_usec 80490000\n");
  files.set("/proc/stat", "cpu  912345 120 402311 18233510 5021 0 10233 377 0 0\n");

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_EQ(sample.host_usage_permille, 0u);
  EXPECT_EQ(sample.cgroup_usage_permille, 0u);
  EXPECT_EQ(sample.ancestor_usage_permille, 980u);
  EXPECT_EQ(sample.usage_permille, 980u);
}

TEST(CpuSampler, InACgroupNamespaceIsBoundByTheNamespaceRoot) {
  RecordedFiles files("cgroup_namespace");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);
  files.set(kRoot + "/worker/cpu.stat", "usage_usec 10300000\n");

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_EQ(sample.capacity_millicpus, 1000u);
  EXPECT_EQ(sample.cgroup_usage_permille, 300u);
}

TEST(CpuSampler, TakesTheSmallestOfQuotaSetAffinityAndOnlineCpus) {
  RecordedFiles files("v2_container_quota");
  files.set(kRoot + "/cpu.max", "max 100000\n");

  EXPECT_EQ(CpuSampler(files).sample(kSecondNs).capacity_millicpus, 4000u);     // cpuset 0-3
  EXPECT_EQ(CpuSampler(files).sample(kSecondNs, 3).capacity_millicpus, 3000u);  // affinity
  EXPECT_EQ(CpuSampler(files).sample(kSecondNs, 0).capacity_millicpus, 4000u);  // unknown
  files.set("/sys/devices/system/cpu/online", "0-1,6-7\n");
  EXPECT_EQ(CpuSampler(files).sample(kSecondNs).capacity_millicpus, 2000u);  // both
  files.remove("/sys/devices/system/cpu/online");
  EXPECT_EQ(CpuSampler(files).sample(kSecondNs).online_cpu_count, 8u);  // from /proc/stat
}

TEST(CpuSampler, WithoutCgroupsMeasuresTheHostAndSaysWhy) {
  RecordedFiles files("no_cgroup");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);
  files.set("/proc/stat", "cpu  912445 120 402311 18233510 5021 0 10233 377 0 0\n");

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_EQ(sample.source, CpuSource::host);
  EXPECT_EQ(sample.usage_permille, 500u);
  EXPECT_FALSE(sample.cgroup_usage_permille);
  EXPECT_EQ(sample.cgroup_blind, CpuBlind::no_cgroup_file);
  EXPECT_FALSE(sample.host_pressure.some_avg10_centipercent);
}

TEST(CpuSampler, CountsStealAsBusyIowaitAsIdleAndGuestsOnce) {
  RecordedFiles files;
  files.set("/proc/stat", "cpu 0 0 0 0 0 0 0 0 0 0\n");
  CpuSampler sampler(files);
  sampler.sample(kSecondNs);
  // Guest 60 of the 100 user ticks, guest_nice 50 of the 50 nice ones.
  files.set("/proc/stat", "cpu 100 50 30 500 200 10 10 100 60 50\n");

  const CpuSample& sample = sampler.sample(2 * kSecondNs);

  EXPECT_EQ(sample.host_usage_permille, 300u);
  EXPECT_EQ(sample.host_steal_permille, 100u);
}

TEST(CpuSampler, ReportsTheBusierOfHostAndCgroupUnlessToldWhomToFollow) {
  const auto usage_when = [](CpuFollow follow) {
    RecordedFiles files("v2_container_quota");
    files.set("/proc/stat", stat_text(0, 0));
    CpuOptions options;
    options.follow = follow;
    CpuSampler sampler(files, options);
    sampler.sample(kSecondNs);
    files.set("/proc/stat", stat_text(900, 1000));
    files.set(kRoot + "/cpu.stat", "usage_usec 55300000\n");
    return sampler.sample(2 * kSecondNs).usage_permille;
  };

  EXPECT_EQ(usage_when(CpuFollow::busier), 900u);
  EXPECT_EQ(usage_when(CpuFollow::host), 900u);
  EXPECT_EQ(usage_when(CpuFollow::cgroup), 200u);
}

TEST(CpuSampler, StartsSmoothingAtTheFirstValueNotAtZero) {
  BareHost host;

  EXPECT_EQ(host.step(818).smoothed_permille, 818u);
  EXPECT_EQ(host.step(818).smoothed_permille, 818u);
}

// 1 - e^-1 of the step after one time constant, whatever the number of calls.
TEST(CpuSampler, SmoothsByElapsedTimeNotByCalls) {
  BareHost often, seldom;
  often.step(0);
  seldom.step(0);

  for (int i = 0; i < 5; ++i)
    often.step(1000, kStepNs);
  seldom.step(1000, 5 * kStepNs);

  EXPECT_EQ(often.step(0, 1).smoothed_permille, 632u);  // too soon: the sample before
  EXPECT_EQ(seldom.step(0, 1).smoothed_permille, 632u);
}

// Integer decay at 0.95 a step stops short of a steady 818 at 799 and so never
// reaches a threshold of 800.
TEST(CpuSampler, SmoothsAllTheWayToASteadyValue) {
  BareHost host;
  host.step(0);

  for (int i = 0; i < 60; ++i)
    host.step(818);

  EXPECT_EQ(host.step(818).smoothed_permille, 818u);
}

TEST(CpuSampler, WithATimeConstantOfZeroDoesNotSmooth) {
  CpuOptions options;
  options.smoothing_ns = 0;
  BareHost host(options);
  host.step(0);

  EXPECT_EQ(host.step(700).smoothed_permille, 700u);
}

TEST(CpuSampler, TellsTheAgeOfItsValue) {
  BareHost host;

  const CpuSample sample = host.step(500);

  ASSERT_TRUE(sample.sampled_at_mono_ns);
  EXPECT_EQ(sample.age_ns(*sample.sampled_at_mono_ns), 0);
  EXPECT_EQ(sample.age_ns(*sample.sampled_at_mono_ns + 7), 7);
  EXPECT_EQ(sample.age_ns(0), 0);  // never negative
}

TEST(CpuSampler, NamesEverySourceAndReason) {
  for (int i = 0; i <= static_cast<int>(CpuSource::hybrid); ++i)
    EXPECT_NE(cpu_source_text(static_cast<CpuSource>(i)), "unknown");
  for (int i = 1; i <= static_cast<int>(CpuBlind::counters_frozen); ++i) {
    EXPECT_NE(cpu_blind_text(static_cast<CpuBlind>(i)), "unknown");
    EXPECT_NE(cpu_blind_text(static_cast<CpuBlind>(i)), "");
  }
  EXPECT_EQ(cpu_blind_text(CpuBlind::none), "");
  EXPECT_EQ(cpu_source_text(static_cast<CpuSource>(250)), "unknown");
}

}  // namespace
}  // namespace weir::agent
