// Who decides in a server process whether a request is admitted: libweir with the agent behind it,
// or a published limiter of the process' own.
#pragma once

#include <memory>
#include <string>

#include "bench/overload/cell.h"
#include "weir/toolkit.h"

namespace weir::bench {

inline constexpr char kResource[] = "service";

// What is to be given back when the request is done.
struct Ticket {
  weir_guard guard{};
  TimeNs admitted_ns = 0;
};

class Gate {
 public:
  virtual ~Gate() = default;
  virtual bool admits(std::uint32_t criticality, Ticket& ticket) = 0;
  virtual void done(Ticket& ticket, bool failed) = 0;
  // From time to time, between requests.
  virtual void look(TimeNs /*now_ns*/) {}
};

// Null: libweir did not find its agent.
std::unique_ptr<Gate> make_gate(const CellSpec& spec, const Place& place,
                                const std::string& agent_socket);

TimeNs mono_ns();

}  // namespace weir::bench
