// An agent of our own, in a private directory, with rules made for measuring.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace weir::bench {

// The limits that the measurements use. Spending is never limited by the rate of the first two.
// Where a contended line lies in memory decides what it costs to pass it between two CPUs, for the
// candidate as for its floor: so there are several of each, taken in turn.
inline constexpr std::uint32_t kVariants = 8;
std::string admit_limit(std::uint32_t variant);
inline constexpr char kStripedLimit[] = "bench/striped";
inline constexpr char kReserveLimit[] = "bench/reserve";  // sheddable calls leave 20 %
inline constexpr char kRefuseLimit[] = "bench/refuse";    // one token a day
inline constexpr char kSaturatedLimit[] = "bench/saturated";
inline constexpr std::uint64_t kSaturatedRate = 1'000'000;

std::string bench_rules();
// `limits` limits that nobody uses.
std::string idle_rules(int limits);

// The agent that lies beside this program, or what $WEIR_AGENT names.
std::string default_agent_path();

struct AgentExtras {
  std::vector<std::string> arguments = {};
  std::function<void()> in_child = {};  // before it becomes the agent
};

class AgentProcess {
 public:
  AgentProcess() = default;
  ~AgentProcess() { stop(); }
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  // Starts the agent and waits until it answers at its socket. On failure error() says why.
  bool start(const std::string& program, const std::string& rules, const AgentExtras& extras = {});
  void stop();

  pid_t pid() const { return pid_; }
  const std::string& socket_path() const { return socket_path_; }
  const std::string& error() const { return error_; }
  // CPU time of all its threads so far.
  std::uint64_t cpu_ns() const;

 private:
  bool fail(std::string why);
  bool spawn(const std::string& program, const AgentExtras& extras);
  bool wait_for_socket();

  pid_t pid_ = -1;
  std::string dir_;
  std::string socket_path_;
  std::string error_;
};

}  // namespace weir::bench
