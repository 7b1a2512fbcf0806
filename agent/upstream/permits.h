// The cluster-wide concurrency limits of this host: between the desk, which knows what may be in
// use here, the resources in shared memory, and the connection.
//
// The order is the same on every wake: what has ended is withdrawn, what changed is kept for a
// successor, then put in force, then what is in flight is read, and only then anything is said.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "agent/domain.h"
#include "lease/permit_desk.h"
#include "rules/parse.h"

namespace weir::agent {

// An agent that took its predecessor's counters over confirms nothing for at least so long: a
// process that holds nothing yet may still go by the old rules.
inline constexpr std::int64_t kPermitsSettleNs = 3'000'000'000;

struct PermitsOptions {
  std::string boot_id;
  std::string file;  // empty: nothing is kept
  std::int64_t patience_ns = 500'000'000;
  std::int64_t ttl_ns = 10'000'000'000;  // until a server says otherwise
};

class Permits {
 public:
  using Clock = std::function<std::int64_t()>;  // as leases are judged by
  using Say = std::function<void(const lease::PermitReport&)>;

  Permits(PermitsOptions options, Clock boot_ns, Say say);

  // Before the domain publishes for the first time: whether its counters are a predecessor's.
  void restore(std::uint64_t counters_id, bool adopted);
  // After each time: the resources have their places.
  void bind(Domain& domain);

  void tick(std::int64_t heard_ns);
  std::int64_t due_in_ns() const;  // how long the agent may sleep
  // Nobody enters any more; what is still in flight is said.
  void leave();

  // From the connection. `speaks`: the server knows of permits.
  void on_welcome(lease::SessionId session, bool speaks, std::int64_t heard_ns);
  void on_grants(const lease::PermitGrants& grants, std::int64_t heard_ns);
  void on_closed(std::int64_t heard_ns);

  std::int64_t boot_ns() const { return boot_ns_(); }
  std::optional<lease::PermitView> view_of(std::string_view name) const {
    return desk_.view(name, boot_ns_());
  }

 private:
  struct Shared {
    Resource* resource = nullptr;
    std::uint64_t full_total = 0;  // as it was seen last
  };

  void observe();
  void apply();
  void talk(std::int64_t now_ns);
  void save();
  void settle_old_rules(std::int64_t now_ns);

  PermitsOptions options_;
  Clock boot_ns_;
  Say say_;
  lease::PermitDesk desk_;
  Toolkit* toolkit_ = nullptr;
  std::map<std::string, Shared, std::less<>> shared_;
  std::uint64_t counters_id_ = 0;
  std::int64_t started_ns_ = 0;
  bool holding_ = false;
  std::string saved_;  // as the file has it
  bool save_failed_ = false;
};

}  // namespace weir::agent
