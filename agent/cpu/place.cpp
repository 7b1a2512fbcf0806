#include "agent/cpu/place.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

namespace weir::agent {
namespace {

using Directories = std::vector<std::string>;

std::string_view without_trailing_slash(std::string_view path) noexcept {
  while (!path.empty() && path.back() == '/')
    path.remove_suffix(1);
  return path;
}

// What is left of `path` below `root`: "" for the root itself, else "/...".
// A part that climbs with ".." names a cgroup outside the namespace, which no
// directory under this mount shows.
std::optional<std::string_view> below(std::string_view root, std::string_view path) noexcept {
  root = without_trailing_slash(root);
  path = without_trailing_slash(path);
  if (!path.starts_with(root)) return std::nullopt;
  const std::string_view rest = path.substr(root.size());
  if (!rest.empty() && rest.front() != '/') return std::nullopt;  // "/ab" is not below "/a"
  if (rest.ends_with("/..") || rest.find("/../") != std::string_view::npos) return std::nullopt;
  return rest;
}

// The same tree may be mounted more than once. The mount that begins highest
// shows the most ancestors, and each of them may carry a quota.
template <class Wanted>
Directories find_directories(const std::vector<CgroupMount>& mounts,
                             const std::optional<std::string>& path, Wanted wanted) noexcept {
  Directories best;
  if (!path) return best;
  for (const CgroupMount& mount : mounts) {
    if (!wanted(mount)) continue;
    Directories found = directories_of(mount, *path);
    if (found.size() > best.size()) best = std::move(found);
  }
  return best;
}

std::vector<CgroupLevel> v1_levels(const OwnCgroups& own, Directories cpu,
                                   Directories usage) noexcept {
  // Only when both hierarchies name the same cgroup is the n-th parent of one
  // the n-th parent of the other. Otherwise the use of self alone is known.
  if (own.v1_cpu_path != own.v1_cpuacct_path && usage.size() > 1) usage.resize(1);
  std::vector<CgroupLevel> levels(std::max(cpu.size(), usage.size()));
  for (std::size_t i = 0; i < cpu.size(); ++i)
    levels[i].cpu_dir = std::move(cpu[i]);
  for (std::size_t i = 0; i < usage.size(); ++i)
    levels[i].usage_dir = std::move(usage[i]);
  return levels;
}

// A level without the controller has no such file and lives by its parent's.
void add_files(const Directories& directories, std::initializer_list<const char*> names,
               std::vector<std::string>& files) noexcept {
  for (const std::string& directory : directories)
    for (const char* const name : names)
      files.push_back(directory + name);
}

}  // namespace

std::vector<std::string> directories_of(const CgroupMount& mount,
                                        std::string_view cgroup_path) noexcept {
  Directories found;
  const auto rest = below(mount.root, cgroup_path);
  if (!rest) return found;
  const std::string_view base = without_trailing_slash(mount.mount_point);
  std::string directory = std::string(base).append(*rest);
  while (found.size() < kCgroupLevelsMax) {
    found.push_back(directory);
    if (directory.size() <= base.size()) break;
    directory.resize(std::max(directory.rfind('/'), base.size()));
  }
  return found;
}

CgroupPlace find_place(std::string_view proc_cgroup, std::string_view mountinfo) noexcept {
  CgroupPlace place;
  const auto own = parse_proc_cgroup(proc_cgroup);
  if (!own) return place;
  const auto mounts = parse_cgroup_mounts(mountinfo);
  place.blind = mounts.empty() ? CpuBlind::no_cgroup_mount : CpuBlind::outside_mount;

  using Mount = CgroupMount;
  auto v2 = find_directories(mounts, own->v2_path, [](const Mount& m) { return m.v2; });
  auto cpu = find_directories(mounts, own->v1_cpu_path, [](const Mount& m) { return m.cpu; });
  auto usage =
      find_directories(mounts, own->v1_cpuacct_path, [](const Mount& m) { return m.cpuacct; });
  auto cpuset =
      find_directories(mounts, own->v1_cpuset_path, [](const Mount& m) { return m.cpuset; });

  if (!v2.empty()) place.pressure_path = v2.front() + "/cpu.pressure";
  // A controller is in one hierarchy only: where v1 has it, the v2 tree has none of it.
  if (!cpu.empty() || !usage.empty()) {
    place.kind = v2.empty() ? CpuSource::cgroup_v1 : CpuSource::hybrid;
    place.levels = v1_levels(*own, std::move(cpu), std::move(usage));
  } else if (!v2.empty()) {
    place.kind = CpuSource::cgroup_v2;
    for (const std::string& directory : v2)
      place.levels.push_back({directory, directory});
  }
  if (cpuset.empty()) {
    add_files(v2, {"/cpuset.cpus.effective"}, place.cpuset_files);
  } else {
    // Kernels before 3.17 have no effective_cpus.
    add_files(cpuset, {"/cpuset.effective_cpus", "/cpuset.cpus"}, place.cpuset_files);
  }
  if (place.kind != CpuSource::none) place.blind = CpuBlind::none;
  return place;
}

}  // namespace weir::agent
