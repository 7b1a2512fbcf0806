// The rows of weir_lease_bench: what a heartbeat costs a token server.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace weir::bench {

struct LeaseRow {
  std::string name;
  std::string floor;  // in words
  double ns_median = 0;
  double floor_ns_median = 0;
  double ratio = 0;  // lease_server: floor / cost, more is better; lease_heartbeat: cost / floor
  double ratio_p10 = 0, ratio_p90 = 0;
  double bar = 0;
  bool more_is_better = true;
  std::string note;
  std::string unit = "ns";

  bool reached() const { return more_is_better ? ratio >= bar : ratio <= bar; }
};

// 64 connections that send heartbeats of 100 limits, against an echo of as many bytes on bare Asio:
// CPU time of the server's thread, in slices that take turns. Nothing, with a message on stderr,
// when it could not be measured.
std::optional<LeaseRow> measure_lease_server(bool quick);

// A heartbeat of 100 limits given to a book directly: with 10,000 hosts against 100.
std::optional<LeaseRow> measure_lease_book(bool quick);

// An agent with 1,000 leased limits, each called ten times a second: percent of a core, and MiB.
// Empty, with a message on stderr, when it could not be measured.
std::vector<LeaseRow> measure_lease_agent(bool quick);

// A call for a unit of a warm key, against one of a plain limit, in one process. Empty, with a
// message on stderr, when it could not be measured.
std::vector<LeaseRow> measure_quota_admit(bool quick);

}  // namespace weir::bench
