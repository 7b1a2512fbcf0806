#include "bench/overload/place.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace weir::bench {
namespace {

bool write_file(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return written;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  (void)::sched_setaffinity(0, sizeof(set), &set);
}

// The directory of our own group below a mount; empty: that hierarchy is not there.
std::string below(const char* mount, const std::string& name) {
  const std::string dir = std::string(mount) + "/" + name;
  return ::mkdir(dir.c_str(), 0755) == 0 ? dir : std::string();
}

// Busy time of one CPU out of /proc/stat.
std::int64_t core_busy_ns(int cpu) {
  std::ifstream file("/proc/stat");
  const std::string wanted = "cpu" + std::to_string(cpu);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::int64_t user = 0, nice = 0, system = 0;
    if (words >> name && name == wanted && words >> user >> nice >> system)
      return (user + nice + system) * (1'000'000'000 / ::sysconf(_SC_CLK_TCK));
  }
  return -1;
}

}  // namespace

void Place::make(int server_cpu, int generator_cpu) {
  server_cpu_ = server_cpu;
  generator_cpu_ = generator_cpu;
  grouped_ = server_cpu != generator_cpu && make_group();
}

// Version 1 hierarchies or the unified one, whichever has the controllers. Nothing is changed but
// the groups made here; what cannot be made is done without.
bool Place::make_group() {
  const std::string name = "weir-overload-" + std::to_string(::getpid());
  const std::string cpu = std::to_string(server_cpu_);
  if (const std::string v2 = below("/sys/fs/cgroup/unified", name); !v2.empty())
    dirs_.push_back(v2);
  const std::string set = below("/sys/fs/cgroup/cpuset", name);
  const std::string use = below("/sys/fs/cgroup/cpuacct", name);
  const std::string share = below("/sys/fs/cgroup/cpu", name);
  for (const std::string& dir : {set, use, share})
    if (!dir.empty()) dirs_.push_back(dir);
  if (!set.empty() && !use.empty() && write_file(set + "/cpuset.cpus", cpu) &&
      write_file(set + "/cpuset.mems", first_line("/sys/fs/cgroup/cpuset/cpuset.mems"))) {
    usage_file_ = use + "/cpuacct.usage";
    // Other work on the machine must not be what is measured.
    if (!share.empty()) (void)write_file(share + "/cpu.shares", "16384");
    return true;
  }
  const std::string whole = below("/sys/fs/cgroup", name);
  if (whole.empty()) return false;
  dirs_.push_back(whole);
  usage_file_ = whole + "/cpu.stat";
  return write_file(whole + "/cpuset.cpus", cpu);
}

Place::~Place() {
  for (const std::string& dir : dirs_)
    for (int tries = 0; tries < 100 && ::rmdir(dir.c_str()) != 0; ++tries)
      ::usleep(10'000);  // the last process may still be on its way out
}

void Place::enter_server() const {
  if (grouped_)
    for (const std::string& dir : dirs_)
      (void)write_file(dir + "/cgroup.procs", "0");
  pin(server_cpu_);
}

void Place::enter_generator() const { pin(generator_cpu_); }

std::int64_t Place::server_cpu_ns() const {
  if (!grouped_) return core_busy_ns(server_cpu_);
  const std::string line = first_line(usage_file_);
  if (line.rfind("usage_usec ", 0) == 0) return std::atoll(line.c_str() + 11) * 1000;
  return line.empty() ? -1 : std::atoll(line.c_str());
}

}  // namespace weir::bench
