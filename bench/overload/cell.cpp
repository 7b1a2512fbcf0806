#include "bench/overload/cell.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <new>
#include <vector>

#include "bench/host.h"
#include "bench/overload/gate.h"
#include "bench/overload/generator.h"
#include "bench/overload/server.h"
#include "weir/toolkit.h"

namespace weir::bench {
namespace {

constexpr int kStepMs = 10;
constexpr int kStartMs = 10'000;
constexpr int kDrainMs = 3'000;
constexpr TimeNs kNeighbourTurnNs = 10 * kMs;

void pause_ms(int ms) {
  const struct timespec span { ms / 1000, (ms % 1000) * 1'000'000L };
  ::nanosleep(&span, nullptr);
}

std::string rules_of(const CellSpec& spec) {
  std::string text = "version: 1\nresources:\n  - name: " + std::string(kResource) + "\n";
  if (spec.arm == BenchArm::fixed)
    return text + "    concurrency: " + std::to_string(spec.fixed_limit) + "\n";
  return text + "    concurrency: " + std::to_string(spec.bulkhead) + "\n    shed: bbr\n";
}

// A batch job beside the service, which takes its share whenever there is something to take.
[[noreturn]] void run_neighbour(const CellSpec& spec, const Place& place) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  place.enter_server();
  for (;;) {
    burn(static_cast<std::int64_t>(spec.neighbour * static_cast<double>(kNeighbourTurnNs)));
    const auto rest_ns = static_cast<long>((1.0 - spec.neighbour) * kNeighbourTurnNs);
    const struct timespec rest { 0, rest_ns };
    ::nanosleep(&rest, nullptr);
  }
}

class Cell {
 public:
  Cell(const CellSpec& spec, const Place& place, const std::string& dir)
      : spec_(spec), place_(place), dir_(dir) {
    void* map = ::mmap(nullptr, sizeof(CellShared), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map != MAP_FAILED) shared_ = new (map) CellShared;
  }
  ~Cell() {
    for (const pid_t pid : servers_)
      end(pid);
    end(generator_);
    end(neighbour_);
    agent_.stop();
    if (shared_ != nullptr) ::munmap(shared_, sizeof(CellShared));
  }
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;

  bool run(CellResult& result, std::string& error) {
    if (shared_ == nullptr) return error = "no memory", false;
    if (uses_agent() && !start_agent(error)) return false;
    servers_.resize(static_cast<std::size_t>(spec_.processes), -1);
    for (int i = 0; i < spec_.processes; ++i)
      start_server(i);
    if (!all_ready()) return error = "the servers did not start", false;
    const std::uint64_t agent_ns = uses_agent() ? agent_.cpu_ns() : 0;
    const TimeNs begun_ns = mono_ns();
    generator_ = fork_child([&] { run_generator(spec_, place_, dir_, *shared_); });
    supervise(begun_ns);
    if (uses_agent())
      result.agent_cpu = static_cast<double>(agent_.cpu_ns() - agent_ns) /
                         static_cast<double>(mono_ns() - begun_ns);
    result.leaked = drain();
    result.spec = spec_;
    result.run = shared_->result;
    result.kills = kills_;
    result.over_limit = shared_->over_limit;
    result.in_flight_most = shared_->in_flight_most;
    if (!result.run.whole) return error = "the generator ended early", false;
    return true;
  }

 private:
  bool uses_agent() const { return spec_.arm == BenchArm::fixed || spec_.arm == BenchArm::ours; }

  template <class Body>
  static pid_t fork_child(const Body& body) {
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    if (::getppid() != parent) ::_exit(1);
    body();
    ::_exit(0);
  }

  static void end(pid_t& pid) {
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      (void)::waitpid(pid, nullptr, 0);
    }
    pid = -1;
  }
  static void end(const pid_t& pid) {
    pid_t copy = pid;
    end(copy);
  }

  bool start_agent(std::string& error) {
    AgentExtras extras;
    extras.in_child = [this] { place_.enter_server(); };
    // In a group of its own the service's group is the host; without one the whole machine is.
    extras.arguments = {"--cpu", place_.grouped() ? "cgroup" : "host"};
    if (agent_.start(default_agent_path(), rules_of(spec_), extras)) return true;
    error = agent_.error();
    return false;
  }

  void start_server(int index) {
    ServerSlot& slot = shared_->servers[static_cast<std::size_t>(index)];
    slot.ready = false;
    const std::string socket = uses_agent() ? agent_.socket_path() : std::string();
    const pid_t pid = fork_child([&] { run_server(spec_, place_, dir_, socket, index, *shared_); });
    servers_[static_cast<std::size_t>(index)] = pid;
    slot.pid = pid;
  }

  bool all_ready() {
    for (int waited = 0; waited < kStartMs; waited += kStepMs) {
      int ready = 0;
      for (int i = 0; i < spec_.processes; ++i)
        ready += shared_->servers[static_cast<std::size_t>(i)].ready ? 1 : 0;
      if (ready == spec_.processes) return true;
      pause_ms(kStepMs);
    }
    return false;
  }

  // Kills by the clock, and starts again what has ended, as a service manager does.
  void supervise(TimeNs begun_ns) {
    TimeNs kill_ns = spec_.before_ns + spec_.kill_every_ns;
    while (::waitpid(generator_, nullptr, WNOHANG) == 0) {
      const TimeNs passed_ns = mono_ns() - begun_ns;
      const bool high = passed_ns < spec_.before_ns + spec_.during_ns;
      if (spec_.kill_every_ns > 0 && passed_ns >= kill_ns && high) {
        ::kill(servers_[static_cast<std::size_t>(kills_ % spec_.processes)], SIGKILL);
        ++kills_;
        kill_ns += spec_.kill_every_ns;
      }
      if (spec_.neighbour > 0.0 && neighbour_ <= 0 &&
          passed_ns >= spec_.before_ns + spec_.during_ns / 2)
        neighbour_ = fork_child([&] { run_neighbour(spec_, place_); });
      for (int i = 0; i < spec_.processes; ++i) {
        pid_t& pid = servers_[static_cast<std::size_t>(i)];
        if (::waitpid(pid, nullptr, WNOHANG) != pid) continue;
        shared_->held &= ~(std::uint64_t{0xff} << (8 * i));
        start_server(i);
      }
      pause_ms(kStepMs);
    }
    generator_ = -1;
    end(neighbour_);
  }

  // What the library still counts as in flight when all work is done.
  std::int64_t drain() {
    if (!uses_agent()) return 0;
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = agent_.socket_path().c_str();
    options.require_agent = 1;
    weir_client* client = nullptr;
    if (weir_open(&options, &client) != WEIR_OK) return -1;
    weir_resource* resource = nullptr;
    std::uint64_t left = UINT32_MAX;
    if (weir_resource_get(client, kResource, &resource) == WEIR_OK)
      for (int waited = 0; left != 0 && waited < kDrainMs; waited += kStepMs) {
        (void)weir_in_flight(resource, &left);
        if (left != 0) pause_ms(kStepMs);
      }
    weir_close(client);
    return static_cast<std::int64_t>(left);
  }

  const CellSpec& spec_;
  const Place& place_;
  const std::string& dir_;
  CellShared* shared_ = nullptr;
  AgentProcess agent_;
  std::vector<pid_t> servers_;
  pid_t generator_ = -1;
  pid_t neighbour_ = -1;
  int kills_ = 0;
};

}  // namespace

const char* arm_name(BenchArm arm) {
  switch (arm) {
    case BenchArm::none:
      return "none";
    case BenchArm::fixed:
      return "fixed";
    case BenchArm::ours:
      return "weir";
    case BenchArm::bbr:
      return "bbr";
    case BenchArm::gradient:
      return "gradient";
  }
  return "";
}

std::string server_path(const std::string& dir, int index) {
  return dir + "/server" + std::to_string(index) + ".sock";
}

bool run_cell(const CellSpec& spec, const Place& place, const std::string& dir, CellResult& result,
              std::string& error) {
  Cell cell(spec, place, dir);
  return cell.run(result, error);
}

}  // namespace weir::bench
