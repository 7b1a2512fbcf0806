// The agent's part of the availability toolkit of one domain: says in the rules segment what
// applies to each resource, reads what the clients counted, decides, and takes back what the dead
// held. Policy alone: the time and the CPU's sample are passed in.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adaptive/degrade.h"
#include "adaptive/shedder.h"
#include "agent/cpu/sample.h"
#include "agent/toolkit/resource.h"
#include "rules/parse.h"
#include "shm/fd.h"
#include "shm/mint.h"
#include "shm/toolkit.h"
#include "shm/toolkit_reap.h"

namespace weir::agent {

inline constexpr std::uint32_t kFeaturesMax = 128;
inline constexpr std::uint32_t kHolderCells =
    16'384;  // and four for each resource, if that is more
inline constexpr std::uint32_t kHolderCellsMax = 65'536;
inline constexpr std::int64_t kToolkitStepNs = adaptive::kShedTickNs;
// A step looks at so many lanes at most, so that it costs no tick, but at a tenth of all resources
// at least, so that each gets its turn in a fifth of a second.
inline constexpr std::size_t kToolkitLanesPerStep = 4096;
inline constexpr std::size_t kToolkitStepsMax = 10;
inline constexpr std::int64_t kRecountStepNs = 100'000'000;
inline constexpr std::int64_t kReapStepNs = 1'000'000'000;
// A connection ended and its process did not: it has closed it, and keeps what it holds.
inline constexpr std::int64_t kDyingNs = 1'000'000'000;

// A small share of traffic that goes the degraded way on purpose.
struct Drill {
  std::uint32_t level = 0;
  std::uint32_t permille = 0;
};

struct DegradeState {
  DegradeConfig config;
  adaptive::Degrader degrader{adaptive::DegradeOptions{}};
  std::optional<std::uint32_t> forced;
  std::optional<Drill> drill;  // in place of the one of the rules
  std::int64_t until_ns = 0;   // when what an operator ordered ends; 0: when it is told to
  std::size_t level = 0;

  std::uint32_t drill_level() const { return drill ? drill->level : config.drill_level; }
  std::uint32_t drill_permille() const { return drill ? drill->permille : config.drill_permille; }
};

class Toolkit {
 public:
  // `view` is of segments that this process may write.
  explicit Toolkit(const shm::ToolkitView& view);

  // Puts the resources and levels of a checked rule in force. What keeps its name keeps its place,
  // what it has learnt, and a state that an operator forced. False when there are too few places.
  bool publish(const DomainRule& rule, std::int64_t now_ns);
  // When tick() has something to do.
  std::int64_t next_due_ns() const noexcept {
    if (!dying_.empty()) return 0;
    return active() ? next_ns_ : shm::kForever;
  }
  // How many places the resources of a rule take, with their tenants.
  static std::size_t places_of(const DomainRule& rule);
  bool active() const noexcept { return !resources_.empty() || !degrades_.empty(); }
  // Whether somebody uses a resource; so long the agent must not sleep.
  bool tick(std::int64_t now_ns);
  // A figure that is absent is not measured. Best each 100 ms.
  void on_sample(std::int64_t now_ns, const CpuSample& sample);

  // The process that holds this slot is at the other end of a connection that has ended. `pidfd`
  // may be empty, where the kernel has none.
  void connection_ended(std::uint32_t slot, std::uint64_t owner, shm::Fd pidfd,
                        std::int64_t now_ns);
  // Whether a process of that number may say that a slot is its own.
  bool owns(std::uint32_t slot, std::uint32_t generation, std::int64_t pid) const;
  // It did, and so it goes by the rules of this agent.
  void announced(std::uint32_t slot);
  // Whether every process that may hold permits did.
  bool all_announced() const;

  // closed lets go; `until_ns` 0: until told otherwise. False: no such resource, or it has no
  // breaker of states.
  bool force_breaker(const std::string& name, adaptive::BreakerState state, std::int64_t now_ns,
                     std::int64_t until_ns = 0);
  // Nothing: by the signal, and the drill of the rules, again. False: no such entry or level.
  bool force_level(const std::string& name, std::optional<std::uint32_t> level, std::int64_t now_ns,
                   std::int64_t until_ns = 0);
  // Only for a share of the requests; the level in force stays what it is.
  bool force_drill(const std::string& name, Drill drill, std::int64_t now_ns,
                   std::int64_t until_ns = 0);

  const std::vector<std::unique_ptr<Resource>>& resources() const { return resources_; }
  const std::vector<DegradeState>& degrades() const { return degrades_; }
  // Not a number where there is none.
  double signal_of(const DegradeState& state) const;
  const shm::ToolkitView& view() const { return view_; }
  std::uint64_t reaped_total() const { return reaped_total_; }
  std::uint64_t expired_total() const { return expired_total_; }

 private:
  struct Dying {
    std::uint32_t slot = 0;
    std::uint64_t owner = 0;
    shm::Fd pidfd;
    std::int64_t until_ns = 0;
  };

  void retire_all_but(const std::vector<ResourceConfig>& configs, std::int64_t now_ns);
  bool make_new(const std::vector<ResourceConfig>& configs, std::int64_t now_ns);
  void make(const ResourceConfig& config, std::uint32_t place, std::int64_t now_ns);
  void tick_resources(std::int64_t now_ns);
  void recount_one(std::int64_t now_ns);
  void publish_degrades(const DomainRule& rule, std::int64_t now_ns);
  DegradeState* degrade_named(const std::string& name);
  void tick_degrades(std::int64_t now_ns);
  void reap_dying(std::int64_t now_ns);
  void expire_leases(std::int64_t now_ns);
  void note(const shm::Reaped& reaped);
  shm::FeatureRule& feature(std::uint32_t index) const;

  shm::ToolkitView view_;
  std::uint64_t own_namespace_ = 0;
  std::vector<std::string> names_;     // by place; whose it was last
  std::vector<std::uint64_t> reaped_;  // permits by place
  std::vector<std::unique_ptr<Resource>> resources_;
  std::vector<DegradeState> degrades_;
  std::vector<std::string> feature_names_;
  std::vector<std::pair<std::uint32_t, std::size_t>> features_;  // place, entry
  std::vector<Dying> dying_;
  std::vector<std::uint64_t> announced_;  // by slot: its word then
  std::vector<shm::LeaseWatch> watches_;
  adaptive::Signal signal_;
  std::int64_t next_ns_ = 0;
  std::int64_t next_recount_ns_ = 0;
  std::int64_t next_reap_ns_ = 0;
  std::int64_t next_lease_ns_ = 0;
  std::size_t recount_at_ = 0;
  std::uint64_t recounts_ = 0;
  std::size_t step_at_ = 0;
  bool round_busy_ = false;
  std::uint64_t reaped_total_ = 0;
  std::uint64_t expired_total_ = 0;
  bool leased_ = false;
  bool busy_ = false;
};

}  // namespace weir::agent
