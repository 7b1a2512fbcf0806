// What the two ends of a cluster-wide concurrency limit say to each other, in whole permits. Plain
// values, as in messages.h.
//
// A host reports each of its resources: the number of the newest grant that is in force there, the
// cap that is in force, and how many are in flight. The server answers with a cap a resource. Its
// numbers begin anew with each session and rise with each cap that differs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lease/messages.h"
#include "lease/units.h"

namespace weir::lease {

using Permits = std::int64_t;

inline constexpr Permits kPermitsOfHostMax = (1 << 19) - 1;  // more than a host can count is damage
inline constexpr TimeNs kPermitReportNs = kSecond;
inline constexpr TimeNs kPermitReportMinNs = 50 * kMs;  // between two of a host
// How long the permits of a host that was lost stay its own: what it let in may still run, and
// without an agent its processes go on letting in by their last cap.
inline constexpr TimeNs kPermitForgetNs = 300 * kSecond;

struct PermitRow {
  std::string name;
  std::uint64_t number = 0;  // of the newest grant in force; 0: none of this session is
  Permits cap = 0;           // in force, wherever it comes from
  Permits in_flight = 0;     // read after the cap was put in force
  Permits want = 0;
};

struct PermitReport {
  SessionId session = 0;
  std::uint64_t seq = 0;        // rises within a session
  bool leaving = false;         // the host takes no grant any more
  std::vector<PermitRow> rows;  // all resources of the host
};

struct PermitGrantRow {
  std::string name;
  std::uint64_t number = 0;
  Permits cap = 0;
  std::uint32_t hosts = 0;  // that the permits are divided among
};

struct PermitGrants {
  SessionId session = 0;
  std::uint64_t seq = 0;  // of the report that this answers; 0: it answers none
  TimeNs ttl_ns = 0;      // from when that report was sent
  // An answer has every row of its report that the server knows, a push those that changed.
  std::vector<PermitGrantRow> rows;
};

}  // namespace weir::lease
