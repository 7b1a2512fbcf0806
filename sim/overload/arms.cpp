#include "sim/overload/arms.h"

#include <algorithm>
#include <vector>

#include "adaptive/gradient.h"
#include "adaptive/published_bbr.h"
#include "sim/overload/process_gradient.h"

namespace weir::overload {
namespace {

class NoArm : public Arm {
 public:
  bool admits(const Ask&) override { return true; }
  void done(const Done&) override {}
};

class FixedArm : public Arm {
 public:
  FixedArm(std::uint32_t limit, std::uint32_t limit_most_important)
      : limit_(limit), limit_most_important_(limit_most_important) {}
  bool admits(const Ask& ask) override {
    const bool most = ask.criticality == adaptive::Criticality::critical_plus;
    if (in_flight_ >= (most ? limit_most_important_ : limit_)) return false;
    ++in_flight_;
    return true;
  }
  void done(const Done&) override { --in_flight_; }
  double limit() const override { return limit_; }

 private:
  std::uint32_t limit_;
  std::uint32_t limit_most_important_;
  std::uint32_t in_flight_ = 0;
};

// Clients of all processes read the same two words; the agent alone makes them.
class OurArm : public Arm {
 public:
  explicit OurArm(const Scenario& scenario) : cores_(scenario.cores), shedder_(scenario.shedder) {}

  bool admits(const Ask& ask) override {
    ++traffic_.asked[adaptive::class_index(ask.criticality)];
    if (adaptive::sheds(shedder_.words(), ask.criticality, in_flight_,
                        adaptive::spread(++draws_))) {
      ++traffic_.refused[adaptive::class_index(ask.criticality)];
      return false;
    }
    ++in_flight_;
    return true;
  }
  void done(const Done& done) override {
    --in_flight_;
    const auto response = static_cast<std::uint64_t>(done.response_ns);
    (done.failed ? traffic_.failed : traffic_.succeeded) += 1;
    (done.failed ? traffic_.failed_ns : traffic_.succeeded_ns) += response;
  }
  void sample(const HostSample& sample) override {
    shedder_.on_signal(sample.now_ns,
                       {.cpu_permille = static_cast<std::int32_t>(sample.use * 1000.0 + 0.5),
                        .pressure_permille = static_cast<std::int32_t>(sample.pressure * 1000.0),
                        .throttled_permille = -1,
                        .capacity_millicpus = cores_ * 1000});
  }
  void tick(TimeNs now_ns) override {
    traffic_.in_flight = in_flight_;
    shedder_.on_traffic(now_ns, traffic_);
    traffic_ = {};
  }
  double limit() const override { return shedder_.view().shedding ? shedder_.view().limit : 0.0; }

 private:
  int cores_;
  adaptive::Shedder shedder_;
  adaptive::Traffic traffic_{};
  std::uint64_t in_flight_ = 0;
  std::uint64_t draws_ = 0;
};

// One limiter in each process, which sees its own requests alone.
class KratosArm : public Arm {
 public:
  explicit KratosArm(const Scenario& scenario)
      : limiters_(static_cast<std::size_t>(scenario.processes)),
        in_flight_(static_cast<std::size_t>(scenario.processes)) {}

  bool admits(const Ask& ask) override {
    const auto process = static_cast<std::size_t>(ask.process);
    if (limiters_[process].should_drop(ask.now_ns, cpu_.value(), in_flight_[process])) return false;
    ++in_flight_[process];
    return true;
  }
  void done(const Done& done) override {
    const auto process = static_cast<std::size_t>(done.process);
    --in_flight_[process];
    limiters_[process].done(done.now_ns, done.response_ns);
  }
  // Its sampler looks each half second.
  void sample(const HostSample& sample) override {
    use_sum_ += sample.use;
    if (++samples_ % 5 != 0) return;
    cpu_.sample(static_cast<std::int64_t>(use_sum_ / 5.0 * 1000.0));
    use_sum_ = 0.0;
  }

 private:
  std::vector<adaptive::published::Bbr<100>> limiters_;
  std::vector<std::int64_t> in_flight_;
  adaptive::published::BbrCpu cpu_;
  double use_sum_ = 0.0;
  int samples_ = 0;
};

class GradientArm : public Arm {
 public:
  explicit GradientArm(const Scenario& scenario)
      : limiters_(static_cast<std::size_t>(scenario.processes)) {}

  bool admits(const Ask& ask) override {
    return limiters_[static_cast<std::size_t>(ask.process)].admits();
  }
  void done(const Done& done) override {
    limiters_[static_cast<std::size_t>(done.process)].done(done.now_ns, done.response_ns);
  }

 private:
  std::vector<ProcessGradient> limiters_;
};

class HostGradientArm : public Arm {
 public:
  bool admits(const Ask&) override {
    if (static_cast<double>(in_flight_) >= std::floor(limiter_.limit())) {
      ++refused_;
      return false;
    }
    ++in_flight_;
    in_flight_max_ = std::max(in_flight_max_, in_flight_);
    return true;
  }
  void done(const Done& done) override {
    --in_flight_;
    if (done.failed) {
      ++failed_;
      return;
    }
    ++succeeded_;
    succeeded_ns_ += done.response_ns;
  }
  void tick(TimeNs now_ns) override {
    limiter_.on_traffic(now_ns, {.succeeded = succeeded_,
                                 .succeeded_ns = static_cast<std::uint64_t>(succeeded_ns_),
                                 .failed = failed_,
                                 .refused = refused_,
                                 .in_flight_max = in_flight_max_});
    succeeded_ = failed_ = refused_ = 0;
    succeeded_ns_ = 0;
    in_flight_max_ = in_flight_;
  }
  double limit() const override { return limiter_.limit(); }

 private:
  adaptive::HostGradient limiter_{};
  std::uint64_t in_flight_ = 0;
  std::uint64_t in_flight_max_ = 0;
  std::uint64_t succeeded_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t refused_ = 0;
  TimeNs succeeded_ns_ = 0;
};

}  // namespace

std::unique_ptr<Arm> make_arm(const Scenario& scenario) {
  switch (scenario.arm) {
    case ArmKind::fixed:
      return std::make_unique<FixedArm>(scenario.fixed_limit, scenario.fixed_limit);
    case ArmKind::strict:
      return std::make_unique<FixedArm>(scenario.fixed_limit, scenario.fixed_limit * 64);
    case ArmKind::ours:
      return std::make_unique<OurArm>(scenario);
    case ArmKind::kratos:
      return std::make_unique<KratosArm>(scenario);
    case ArmKind::gradient:
      return std::make_unique<GradientArm>(scenario);
    case ArmKind::gradient_host:
      return std::make_unique<HostGradientArm>();
    case ArmKind::none:
      break;
  }
  return std::make_unique<NoArm>();
}

}  // namespace weir::overload
