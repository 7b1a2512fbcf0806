#include "agent/cpu/place.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "recorded_files.h"

namespace weir::agent {
namespace {

using Directories = std::vector<std::string>;

CgroupPlace place_in(const std::string& scenario) {
  RecordedFiles files(scenario);
  return find_place(files.text("/proc/self/cgroup"), files.text("/proc/self/mountinfo"));
}

CgroupMount mount_of(std::string root, std::string mount_point) {
  CgroupMount mount;
  mount.root = std::move(root);
  mount.mount_point = std::move(mount_point);
  return mount;
}

TEST(Directories, LeadFromSelfUpToTheMount) {
  EXPECT_EQ(directories_of(mount_of("/", "/cg"), "/a/b"), (Directories{"/cg/a/b", "/cg/a", "/cg"}));
  EXPECT_EQ(directories_of(mount_of("/", "/cg"), "/"), (Directories{"/cg"}));
}

// A container without a cgroup namespace sees the host's path, and a mount that
// begins at its own cgroup: the two halves overlap.
TEST(Directories, TakeOffThePartThatTheMountBeginsWith) {
  EXPECT_EQ(directories_of(mount_of("/docker/x", "/cg"), "/docker/x"), (Directories{"/cg"}));
  EXPECT_EQ(directories_of(mount_of("/docker/x", "/cg"), "/docker/x/in"),
            (Directories{"/cg/in", "/cg"}));
}

TEST(Directories, AreNoneForACgroupThatIsNotUnderTheMount) {
  EXPECT_TRUE(directories_of(mount_of("/docker/x", "/cg"), "/docker/xy").empty());
  EXPECT_TRUE(directories_of(mount_of("/docker/x", "/cg"), "/").empty());
  EXPECT_TRUE(directories_of(mount_of("/..", "/cg"), "/").empty());
}

// Seen from inside a namespace, a cgroup outside it begins with "/..". Joined to
// the mount point that would climb out of the cgroup file system.
TEST(Directories, NeverClimbOutOfTheMount) {
  EXPECT_TRUE(directories_of(mount_of("/", "/cg"), "/../other").empty());
  EXPECT_TRUE(directories_of(mount_of("/", "/cg"), "/..").empty());
  EXPECT_TRUE(directories_of(mount_of("/", "/cg"), "/a/../../b").empty());
  EXPECT_EQ(directories_of(mount_of("/..", "/cg"), "/../other"), (Directories{"/cg/other", "/cg"}));
  EXPECT_EQ(directories_of(mount_of("/", "/cg"), "/a..b"), (Directories{"/cg/a..b", "/cg"}));
}

TEST(Directories, AreBoundedHoweverDeepTheCgroupIs) {
  std::string path;
  for (int i = 0; i < 500; ++i)
    path += "/d";

  const auto found = directories_of(mount_of("/", "/cg"), path);

  ASSERT_EQ(found.size(), kCgroupLevelsMax);
  EXPECT_EQ(found.front(), "/cg" + path);
}

TEST(Place, OfAHybridHostTakesUseFromV1AndPressureFromV2) {
  const auto place = place_in("hybrid_host/first");

  EXPECT_EQ(place.kind, CpuSource::hybrid);
  EXPECT_EQ(place.blind, CpuBlind::none);
  ASSERT_EQ(place.levels.size(), 1u);
  EXPECT_EQ(place.levels[0].cpu_dir, "/sys/fs/cgroup/cpu");
  EXPECT_EQ(place.levels[0].usage_dir, "/sys/fs/cgroup/cpuacct");
  EXPECT_EQ(place.cpuset_files, (Directories{"/sys/fs/cgroup/cpuset/cpuset.effective_cpus",
                                             "/sys/fs/cgroup/cpuset/cpuset.cpus"}));
  EXPECT_EQ(place.pressure_path, "/sys/fs/cgroup/unified/cpu.pressure");
}

TEST(Place, UnderV1NamesEveryAncestorInBothHierarchies) {
  const auto place = place_in("v1_quota/first");

  EXPECT_EQ(place.kind, CpuSource::cgroup_v1);
  ASSERT_EQ(place.levels.size(), 3u);
  EXPECT_EQ(place.levels[1].cpu_dir, "/sys/fs/cgroup/cpu/app.slice");
  EXPECT_EQ(place.levels[1].usage_dir, "/sys/fs/cgroup/cpuacct/app.slice");
  EXPECT_TRUE(place.pressure_path.empty());
}

TEST(Place, UnderV1WithTwoPathsKnowsTheUseOfSelfAlone) {
  const auto place =
      find_place("2:cpuacct:/u/v\n1:cpu:/q\n",
                 "1 2 0:1 / /cpu rw - cgroup c rw,cpu\n3 2 0:2 / /acct rw - cgroup c rw,cpuacct\n");

  ASSERT_EQ(place.levels.size(), 2u);
  EXPECT_EQ(place.levels[0], (CgroupLevel{"/cpu/q", "/acct/u/v"}));
  EXPECT_EQ(place.levels[1], (CgroupLevel{"/cpu", ""}));
}

TEST(Place, OfAV1ContainerIsTheMountPointItself) {
  const auto place = place_in("v1_container");

  EXPECT_EQ(place.kind, CpuSource::cgroup_v1);
  ASSERT_EQ(place.levels.size(), 1u);
  EXPECT_EQ(place.levels[0].cpu_dir, "/sys/fs/cgroup/cpu,cpuacct");
}

TEST(Place, UnderV2NamesEveryAncestor) {
  const auto place = place_in("v2_nested_quota");

  EXPECT_EQ(place.kind, CpuSource::cgroup_v2);
  ASSERT_EQ(place.levels.size(), 5u);
  EXPECT_EQ(place.levels[3].cpu_dir, "/sys/fs/cgroup/kubepods.slice");
  EXPECT_EQ(place.levels[4].cpu_dir, "/sys/fs/cgroup");
}

// The v1 tree has cpu, the v2 tree has cpuset: each file by the name it has there.
TEST(Place, TakesTheCpuSetFromTheHierarchyThatHasIt) {
  const auto place = find_place("1:cpu,cpuacct:/a\n0::/b\n",
                                "1 2 0:1 / /v1 rw - cgroup c rw,cpu,cpuacct\n"
                                "3 2 0:2 / /v2 rw - cgroup2 c rw\n");

  EXPECT_EQ(place.kind, CpuSource::hybrid);
  EXPECT_EQ(place.cpuset_files,
            (Directories{"/v2/b/cpuset.cpus.effective", "/v2/cpuset.cpus.effective"}));
}

TEST(Place, InACgroupNamespaceEndsAtTheNamespaceRoot) {
  const auto place = place_in("cgroup_namespace");

  ASSERT_EQ(place.levels.size(), 2u);
  EXPECT_EQ(place.levels[0].cpu_dir, "/sys/fs/cgroup/worker");
  EXPECT_EQ(place.pressure_path, "/sys/fs/cgroup/worker/cpu.pressure");
}

// The same tree mounted twice: the mount that begins higher shows ancestors,
// and with them quotas, that the other hides.
TEST(Place, PrefersTheMountThatShowsMoreAncestors) {
  const auto place = find_place("0::/a/b\n",
                                "1 2 0:1 /a /low rw - cgroup2 c rw\n"
                                "3 2 0:1 / /high rw - cgroup2 c rw\n");

  EXPECT_EQ(place.levels.size(), 3u);
  EXPECT_EQ(place.levels[0].cpu_dir, "/high/a/b");
}

TEST(Place, SaysWhyThereIsNone) {
  EXPECT_EQ(find_place("", "").blind, CpuBlind::no_cgroup_file);
  EXPECT_EQ(find_place("0::/\n", "").blind, CpuBlind::no_cgroup_mount);
  EXPECT_EQ(find_place("0::/../x\n", "1 2 0:1 / /cg rw - cgroup2 c rw\n").blind,
            CpuBlind::outside_mount);
}

}  // namespace
}  // namespace weir::agent
