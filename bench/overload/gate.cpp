#include "bench/overload/gate.h"

#include <time.h>

#include <cmath>
#include <mutex>

#include "adaptive/published_bbr.h"
#include "sim/overload/process_gradient.h"

namespace weir::bench {
namespace {

class NoGate : public Gate {
 public:
  bool admits(std::uint32_t, Ticket&) override { return true; }
  void done(Ticket&, bool) override {}
};

// The product: a guard of the library before each request, with whatever the agent's rules say.
class WeirGate : public Gate {
 public:
  static std::unique_ptr<WeirGate> open(const std::string& agent_socket) {
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = agent_socket.c_str();
    options.require_agent = 1;
    options.connect_timeout_ms = 2000;
    auto gate = std::make_unique<WeirGate>();
    if (weir_open(&options, &gate->client_) != WEIR_OK) return nullptr;
    if (weir_resource_get(gate->client_, kResource, &gate->resource_) != WEIR_OK) return nullptr;
    return gate;
  }
  ~WeirGate() override {
    if (client_ != nullptr) weir_close(client_);
  }

  bool admits(std::uint32_t criticality, Ticket& ticket) override {
    weir_guard_options ask{};
    ask.struct_bytes = sizeof(ask);
    ask.resource = resource_;
    ask.priority_class = static_cast<std::int32_t>(criticality);
    return weir_guard_begin(&ask, &ticket.guard) == WEIR_ALLOW;
  }
  void done(Ticket& ticket, bool failed) override {
    (void)weir_guard_end(&ticket.guard, failed ? WEIR_DONE_FAILED : WEIR_DONE_OK);
  }

 private:
  weir_client* client_ = nullptr;
  weir_resource* resource_ = nullptr;
};

// As published by go-kratos: CPU each half second, its average starts where half a load would have
// left it.
class BbrGate : public Gate {
 public:
  explicit BbrGate(const Place& place) : place_(place) { cpu_.set(500); }

  bool admits(std::uint32_t, Ticket& ticket) override {
    const std::lock_guard lock(mutex_);
    ticket.admitted_ns = mono_ns();
    if (limiter_.should_drop(ticket.admitted_ns, cpu_.value(), in_flight_)) return false;
    ++in_flight_;
    return true;
  }
  void done(Ticket& ticket, bool) override {
    const std::lock_guard lock(mutex_);
    --in_flight_;
    const TimeNs now_ns = mono_ns();
    limiter_.done(now_ns, now_ns - ticket.admitted_ns);
  }
  void look(TimeNs now_ns) override {
    if (now_ns < next_ns_) return;
    const std::int64_t used_ns = place_.server_cpu_ns();
    if (looked_ns_ != 0 && used_ns >= 0) {
      const std::int64_t permille = (used_ns - used_ns_) * 1000 / (now_ns - looked_ns_);
      const std::lock_guard lock(mutex_);
      cpu_.sample(std::min<std::int64_t>(permille, 1000));
    }
    used_ns_ = used_ns;
    looked_ns_ = now_ns;
    next_ns_ = now_ns + kSecond / 2;
  }

 private:
  const Place& place_;
  std::mutex mutex_;
  adaptive::published::Bbr<100> limiter_;
  adaptive::published::BbrCpu cpu_;
  std::int64_t in_flight_ = 0;
  std::int64_t used_ns_ = 0;
  TimeNs looked_ns_ = 0;
  TimeNs next_ns_ = 0;
};

class GradientGate : public Gate {
 public:
  bool admits(std::uint32_t, Ticket& ticket) override {
    const std::lock_guard lock(mutex_);
    ticket.admitted_ns = mono_ns();
    return limiter_.admits();
  }
  void done(Ticket& ticket, bool) override {
    const std::lock_guard lock(mutex_);
    const TimeNs now_ns = mono_ns();
    limiter_.done(now_ns, now_ns - ticket.admitted_ns);
  }

 private:
  std::mutex mutex_;
  overload::ProcessGradient limiter_;
};

}  // namespace

TimeNs mono_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<TimeNs>(now.tv_sec) * kSecond + now.tv_nsec;
}

std::unique_ptr<Gate> make_gate(const CellSpec& spec, const Place& place,
                                const std::string& agent_socket) {
  switch (spec.arm) {
    case BenchArm::fixed:
    case BenchArm::ours:
      return WeirGate::open(agent_socket);
    case BenchArm::bbr:
      return std::make_unique<BbrGate>(place);
    case BenchArm::gradient:
      return std::make_unique<GradientGate>();
    case BenchArm::none:
      break;
  }
  return std::make_unique<NoGate>();
}

}  // namespace weir::bench
