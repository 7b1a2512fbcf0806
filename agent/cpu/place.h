// Where this process's cgroup is on disk: pure text in, directories out.
//
// /proc/self/cgroup names a cgroup, mountinfo says which cgroup stands at which
// mount point, and only both together give a directory. Taking the mount point
// itself for the own cgroup reads the whole host under systemd or without a
// cgroup namespace; joining it with the path blindly finds nothing in a
// container whose mount begins at the container's own cgroup.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cpu/parse.h"
#include "agent/cpu/sample.h"

namespace weir::agent {

// Self and the nearest ancestors; the kernel's own tools nest fewer than ten.
inline constexpr std::size_t kCgroupLevelsMax = 64;

// One cgroup on the way from self to the mount. Empty means this level has no
// such directory: v1 may mount cpu and cpuacct apart, with different paths.
struct CgroupLevel {
  std::string cpu_dir;
  std::string usage_dir;
  bool operator==(const CgroupLevel&) const = default;
};

struct CgroupPlace {
  CpuSource kind = CpuSource::none;
  CpuBlind blind = CpuBlind::no_cgroup_file;  // why kind is none
  std::vector<CgroupLevel> levels;            // self first
  std::vector<std::string> cpuset_files;      // self first; the first that can be read holds
  std::string pressure_path;                  // empty when there is no v2 tree
  bool operator==(const CgroupPlace&) const = default;
};

CgroupPlace find_place(std::string_view proc_cgroup, std::string_view mountinfo) noexcept;

// The directories from `cgroup_path` up to the mount point, self first; empty
// when the path does not lie under what is mounted there.
std::vector<std::string> directories_of(const CgroupMount& mount,
                                        std::string_view cgroup_path) noexcept;

}  // namespace weir::agent
