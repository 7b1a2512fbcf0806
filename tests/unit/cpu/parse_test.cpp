#include "agent/cpu/parse.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "recorded_files.h"

namespace weir::agent {
namespace {

CpuSet cpus_of(std::initializer_list<std::size_t> list) {
  CpuSet cpus;
  for (const std::size_t cpu : list)
    cpus.set(cpu);
  return cpus;
}

// Everything that takes text from outside, for the tests that only want no harm.
void parse_with_all(std::string_view text) {
  (void)parse_proc_stat(text);
  (void)parse_cpu_list(text);
  (void)parse_cpu_max(text);
  (void)parse_cfs_quota(text, text);
  (void)parse_cpu_stat(text);
  (void)parse_cpuacct_usage_ns(text);
  (void)parse_pressure(text);
  (void)parse_proc_cgroup(text);
  (void)parse_cgroup_mounts(text);
}

TEST(ProcStatText, GivesEveryFieldAndCountsTheCpuLines) {
  const auto stat = parse_proc_stat(
      "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu3 0 0 0 0\nintr 5 0\ncpu9 1\n");

  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->ticks.user, 1u);
  EXPECT_EQ(stat->ticks.nice, 2u);
  EXPECT_EQ(stat->ticks.system, 3u);
  EXPECT_EQ(stat->ticks.idle, 4u);
  EXPECT_EQ(stat->ticks.iowait, 5u);
  EXPECT_EQ(stat->ticks.irq, 6u);
  EXPECT_EQ(stat->ticks.softirq, 7u);
  EXPECT_EQ(stat->ticks.steal, 8u);
  EXPECT_EQ(stat->ticks.guest, 9u);
  EXPECT_EQ(stat->ticks.guest_nice, 10u);
  EXPECT_EQ(stat->cpu_line_count, 2u);
}

TEST(ProcStatText, TakesOldKernelsWithFewerFieldsAndNewOnesWithMore) {
  const auto old_kernel = parse_proc_stat("cpu 10 0 20 70\n");
  const auto new_kernel = parse_proc_stat("cpu 1 2 3 4 5 6 7 8 9 10 11 12\n");

  ASSERT_TRUE(old_kernel);
  EXPECT_EQ(old_kernel->ticks.idle, 70u);
  EXPECT_EQ(old_kernel->ticks.steal, 0u);
  EXPECT_TRUE(new_kernel);
}

TEST(ProcStatText, IsAbsentWhenItIsEmptyCutNegativeOrTooLarge) {
  EXPECT_FALSE(parse_proc_stat(""));
  EXPECT_FALSE(parse_proc_stat("\n"));
  EXPECT_FALSE(parse_proc_stat("intr 1 2 3\n"));
  EXPECT_FALSE(parse_proc_stat("cpu0 1 2 3 4\n"));  // no sum line
  EXPECT_FALSE(parse_proc_stat("cpu  1 2 3"));
  EXPECT_FALSE(parse_proc_stat("cpu  1 2 -3 4\n"));
  EXPECT_FALSE(parse_proc_stat("cpu  1 2 3 4 x\n"));
  EXPECT_FALSE(parse_proc_stat("cpu  1 2 3 18446744073709551616\n"));
  EXPECT_TRUE(parse_proc_stat("cpu  1 2 3 18446744073709551615\r\n"));
}

TEST(CpuListText, GivesTheSetItNames) {
  EXPECT_EQ(parse_cpu_list("0-2,4"), cpus_of({0, 1, 2, 4}));
  EXPECT_EQ(parse_cpu_list("1-3,5,7-9\n"), cpus_of({1, 2, 3, 5, 7, 8, 9}));
  EXPECT_EQ(parse_cpu_list("0\r\n"), cpus_of({0}));
  EXPECT_EQ(parse_cpu_list("0-2,1-3"), cpus_of({0, 1, 2, 3}));  // never counted twice
  EXPECT_EQ(parse_cpu_list("8191"), cpus_of({8191}));
}

TEST(CpuListText, IsAbsentWhenItMakesNoSense) {
  for (const char* text : {"", "\n", " ", "3-1", "0,", ",0", "0,,1", "-1", "a", "0-", "0-x", "1 2",
                           "0-8192", "99999999999999999999", "0-4294967296", "0-10:2/4", "+1"})
    EXPECT_FALSE(parse_cpu_list(text)) << '"' << text << '"';
}

TEST(CpuMaxText, TellsAQuotaFromNone) {
  EXPECT_EQ(parse_cpu_max("20000 100000\n")->millicpus(), 200u);
  EXPECT_EQ(parse_cpu_max("150000 100000\r\n")->millicpus(), 1500u);
  ASSERT_TRUE(parse_cpu_max("max 100000"));
  EXPECT_FALSE(parse_cpu_max("max 100000")->millicpus());
}

TEST(CpuMaxText, KeepsAQuotaOfAlmostNothingAboveZeroAndAHugeOneBounded) {
  EXPECT_EQ(parse_cpu_max("1 1000000")->millicpus(), 1u);
  EXPECT_EQ(parse_cpu_max("18446744073709551615 1")->millicpus(), kCpusMax * 1000);
}

TEST(CpuMaxText, IsAbsentWhenItMakesNoSense) {
  for (const char* text :
       {"", "\n", "max", "100000", "20000 0", "0 100000", "-1 100000", "20000 -1", "max max",
        "20000 100000 1", "2e4 100000", "maximum 100000", "18446744073709551616 100000"})
    EXPECT_FALSE(parse_cpu_max(text)) << '"' << text << '"';
}

TEST(CfsQuotaText, TellsAQuotaFromNoneAndFromNonsense) {
  EXPECT_EQ(parse_cfs_quota("200000\n", "100000\n")->millicpus(), 2000u);
  ASSERT_TRUE(parse_cfs_quota("-1\n", "100000\n"));
  EXPECT_FALSE(parse_cfs_quota("-1\n", "100000\n")->millicpus());
  EXPECT_FALSE(parse_cfs_quota("200000", "0"));
  EXPECT_FALSE(parse_cfs_quota("0", "100000"));
  EXPECT_FALSE(parse_cfs_quota("-2", "100000"));
  EXPECT_FALSE(parse_cfs_quota("", "100000"));
  EXPECT_FALSE(parse_cfs_quota("200000", ""));
}

TEST(CpuStatText, GivesNanosecondsForBothVersions) {
  const auto v2 = parse_cpu_stat(
      "usage_usec 12345\nuser_usec 1\nnr_periods 15\nnr_throttled 14\nthrottled_usec 2\n");
  const auto v1 = parse_cpu_stat("nr_periods 7\nnr_throttled 3\nthrottled_time 99\n");

  ASSERT_TRUE(v2);
  EXPECT_EQ(v2->usage_ns, 12'345'000u);
  EXPECT_EQ(v2->periods_total, 15u);
  EXPECT_EQ(v2->throttled_periods_total, 14u);
  EXPECT_EQ(v2->throttled_ns, 2'000u);
  ASSERT_TRUE(v1);
  EXPECT_FALSE(v1->usage_ns);
  EXPECT_EQ(v1->throttled_ns, 99u);
}

TEST(CpuStatText, LeavesOutOnlyTheFieldThatIsBroken) {
  const auto stat = parse_cpu_stat("usage_usec -1\nnr_periods 4\nnr_throttled\nthrottled_usec x\n");

  ASSERT_TRUE(stat);
  EXPECT_FALSE(stat->usage_ns);
  EXPECT_EQ(stat->periods_total, 4u);
  EXPECT_FALSE(stat->throttled_periods_total);
  EXPECT_FALSE(stat->throttled_ns);
}

TEST(CpuStatText, IsAbsentWhenItHoldsNothingOfUse) {
  EXPECT_FALSE(parse_cpu_stat(""));
  EXPECT_FALSE(parse_cpu_stat("user_usec 5\nsystem_usec 6\n"));
  EXPECT_FALSE(parse_cpu_stat("usage_usec 18446744073709551615\n"));  // nanoseconds do not fit
}

TEST(CpuacctUsageText, IsOneNumberOrAbsent) {
  EXPECT_EQ(parse_cpuacct_usage_ns("73000000000\n"), 73'000'000'000u);
  EXPECT_FALSE(parse_cpuacct_usage_ns("-1\n"));
  EXPECT_FALSE(parse_cpuacct_usage_ns(""));
  EXPECT_FALSE(parse_cpuacct_usage_ns("12 13\n"));
}

TEST(PressureText, GivesCentipercentAndTheTotal) {
  const auto pressure = parse_pressure(
      "some avg10=0.87 avg60=2.52 avg300=100.00 total=6551784\n"
      "full avg10=0.00 avg60=0.05 avg300=0.5 total=1\n");

  ASSERT_TRUE(pressure);
  EXPECT_EQ(pressure->some.avg10_centipercent, 87u);
  EXPECT_EQ(pressure->some.avg60_centipercent, 252u);
  EXPECT_EQ(pressure->some.avg300_centipercent, 10'000u);
  EXPECT_EQ(pressure->some.total_usec, 6'551'784u);
  ASSERT_TRUE(pressure->full);
  EXPECT_EQ(pressure->full->avg60_centipercent, 5u);
  EXPECT_EQ(pressure->full->avg300_centipercent, 50u);
}

TEST(PressureText, DoesWithoutTheFullLineOfNewerKernels) {
  const auto pressure = parse_pressure("some avg10=1.00 avg60=1.00 avg300=1.00 total=5\n");

  ASSERT_TRUE(pressure);
  EXPECT_FALSE(pressure->full);
}

TEST(PressureText, IsAbsentWhenAFieldIsMissingOrOutOfRange) {
  for (const char* text :
       {"", "some\n", "some avg10=1.00 avg60=1.00 avg300=1.00\n",
        "some avg10=1.00 avg60=1.00 total=5\n", "full avg10=0.0 avg60=0.0 avg300=0.0 total=0\n",
        "some avg10=-1.00 avg60=1.00 avg300=1.00 total=5\n",
        "some avg10=100.01 avg60=1.00 avg300=1.00 total=5\n",
        "some avg10=1. avg60=1.00 avg300=1.00 total=5\n",
        "some avg10=1.000 avg60=1.00 avg300=1.00 total=5\n",
        "some avg10=nan avg60=1.00 avg300=1.00 total=5\n"})
    EXPECT_FALSE(parse_pressure(text)) << text;
}

TEST(ProcCgroupText, TellsTheHierarchiesApart) {
  const auto own = parse_proc_cgroup(
      "12:name=systemd:/a\n4:cpu,cpuacct:/b\n3:cpuset:/c:d\n2:memory:/m\n0::/e\n");

  ASSERT_TRUE(own);
  EXPECT_EQ(own->v1_cpu_path, "/b");
  EXPECT_EQ(own->v1_cpuacct_path, "/b");
  EXPECT_EQ(own->v1_cpuset_path, "/c:d");  // a name may hold a colon
  EXPECT_EQ(own->v2_path, "/e");
}

TEST(ProcCgroupText, IsAbsentWhenNoLineIsWhole) {
  EXPECT_FALSE(parse_proc_cgroup(""));
  EXPECT_FALSE(parse_proc_cgroup("0:"));
  EXPECT_FALSE(parse_proc_cgroup("0::"));
  EXPECT_FALSE(parse_proc_cgroup("0::relative\n"));
  EXPECT_FALSE(parse_proc_cgroup("x::/a\n-1:cpu:/b\n"));
  EXPECT_FALSE(parse_proc_cgroup("0::/" + std::string(kPathBytesMax, 'a') + "\n"));
}

TEST(MountinfoText, FindsTheHierarchiesWithCpuFiguresAlone) {
  const auto mounts = parse_cgroup_mounts(
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "32 31 0:29 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup "
      "rw,cpu,cpuacct\n"
      "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
      "34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "35 31 0:32 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 none rw,nsdelegate\n");

  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_TRUE(mounts[0].cpu && mounts[0].cpuacct && !mounts[0].cpuset && !mounts[0].v2);
  EXPECT_EQ(mounts[0].root, "/docker/x");
  EXPECT_TRUE(mounts[1].cpuset && !mounts[1].cpu);  // "cpuset" is not "cpu"
  EXPECT_TRUE(mounts[2].v2);
  EXPECT_EQ(mounts[2].mount_point, "/sys/fs/cgroup/uni fied");
}

TEST(MountinfoText, LeavesOutAMountThatAnotherHides) {
  const auto mounts = parse_cgroup_mounts(
      "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
      "40 31 0:50 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n");

  EXPECT_TRUE(mounts.empty());
}

TEST(MountinfoText, PassesOverLinesThatAreCutOrOddAndIsBounded) {
  std::string text =
      "31 23 0:28 / /sys/fs/cgroup rw\n- cgroup2\n\n31 23 0:28 / rel rw - cgroup2 a b\n";
  EXPECT_TRUE(parse_cgroup_mounts(text).empty());

  for (int i = 0; i < 1000; ++i)
    text += "1 2 0:28 / /m rw - cgroup2  rw\n";  // an empty source
  EXPECT_EQ(parse_cgroup_mounts(text).size(), kCgroupMountsMax);
}

TEST(EveryParser, SurvivesRecordedFilesCutAtEveryByte) {
  for (const char* scenario : {"hybrid_host/first", "v1_container", "v2_container_quota"}) {
    RecordedFiles files(scenario);
    for (const auto& [path, text] : files.all())
      for (std::size_t bytes = 0; bytes <= text.size(); ++bytes)
        parse_with_all(std::string(text, 0, bytes));
  }
}

TEST(EveryParser, SurvivesRecordedFilesWithBytesChanged) {
  constexpr std::string_view kNasty("\0\xff\n\r -+.,:=/\\9", 15);
  std::minstd_rand random(7);
  for (const char* scenario : {"hybrid_host/first", "v1_container", "v2_nested_quota"}) {
    RecordedFiles files(scenario);
    for (const auto& [path, text] : files.all()) {
      for (int round = 0; round < 200 && !text.empty(); ++round) {
        std::string changed = text;
        for (int i = 0; i < 4; ++i)
          changed[random() % changed.size()] = kNasty[random() % kNasty.size()];
        parse_with_all(changed);
      }
    }
  }
}

}  // namespace
}  // namespace weir::agent
