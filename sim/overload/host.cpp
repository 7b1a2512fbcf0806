#include "sim/overload/host.h"

#include <algorithm>
#include <cmath>

namespace weir::overload {
namespace {

constexpr double kTwoPi = 6.283185307179586;
constexpr double kLognormalSigma = 1.0;
constexpr double kBimodalLong = 0.1;
constexpr double kBimodalLongTimes = 5.5;
constexpr double kBimodalShortTimes = 0.5;

double exponential(lease::Random& random, double mean) {
  return -std::log1p(-random.unit()) * mean;
}

}  // namespace

Host::Host(const Scenario& scenario)
    : scenario_(scenario),
      random_(lease::mix(scenario.seed, 0x6f766572ULL)),
      arm_(make_arm(scenario)),
      measures_(scenario),
      sample_ns_(adaptive::kShedSampleNs),
      tick_ns_(adaptive::kShedTickNs) {
  plan_arrival();
}

Measures Host::run() {
  const TimeNs end_ns = scenario_.before_ns + scenario_.during_ns + scenario_.after_ns;
  while (now_ns_ < end_ns) {
    const TimeNs done_ns = next_end_ns();
    const TimeNs patience_ns = patience_.empty() ? adaptive::kNever : patience_.front().until_ns;
    const TimeNs pause_ns =
        pausing_.empty() ? adaptive::kNever : static_cast<TimeNs>(pausing_.top().at);
    const TimeNs next_ns =
        std::min({arrival_ns_, done_ns, patience_ns, pause_ns, sample_ns_, tick_ns_, end_ns});
    advance(next_ns);
    if (next_ns == done_ns) {
      const std::uint32_t index = running_.top().job;
      running_.pop();
      finish(index);
    } else if (next_ns == patience_ns) {
      lose_patience();
    } else if (next_ns == pause_ns) {
      end_pauses();
    } else if (next_ns == sample_ns_) {
      sample();
    } else if (next_ns == tick_ns_) {
      arm_->tick(now_ns_);
      tick_ns_ += adaptive::kShedTickNs;
    } else if (next_ns == arrival_ns_) {
      arrive();
    }
  }
  return measures_;
}

double Host::load() const noexcept {
  const bool high =
      now_ns_ >= scenario_.before_ns && now_ns_ < scenario_.before_ns + scenario_.during_ns;
  return high ? scenario_.load : scenario_.base_load;
}

double Host::cores() const noexcept {
  const bool shared = now_ns_ >= scenario_.before_ns + kNeighbourAfterNs;
  return scenario_.cores * (shared ? 1.0 - scenario_.neighbour : 1.0);
}

void Host::plan_arrival() {
  const double rate = load() * scenario_.capacity_per_second();
  arrival_ns_ =
      now_ns_ + std::max<TimeNs>(1, static_cast<TimeNs>(exponential(random_, 1e9 / rate)));
}

std::uint8_t Host::draw_class() {
  double left = random_.unit();
  if (scenario_.steady_most >= 0.0) {
    const double most = std::min(1.0, scenario_.steady_most / load());
    if (left < most) return 0;
    const double others = std::max(1e-9, 1.0 - scenario_.mix[0]);
    left = scenario_.mix[0] + (left - most) / std::max(1e-9, 1.0 - most) * others;
  }
  for (std::uint8_t i = 0; i < kClasses; ++i) {
    left -= scenario_.mix[i];
    if (left < 0.0) return i;
  }
  return kClasses - 1;
}

double Host::draw_work_ns() {
  const auto mean = static_cast<double>(scenario_.work_ns);
  switch (scenario_.service) {
    case Service::constant:
      return mean;
    case Service::lognormal: {
      const double radius = std::sqrt(-2.0 * std::log1p(-random_.unit()));
      const double normal = radius * std::cos(kTwoPi * random_.unit());
      return mean * std::exp(kLognormalSigma * normal - kLognormalSigma * kLognormalSigma / 2.0);
    }
    case Service::bimodal:
      return mean * (random_.unit() < kBimodalLong ? kBimodalLongTimes : kBimodalShortTimes);
    case Service::exponential:
    case Service::mixed:
      break;
  }
  return exponential(random_, mean);
}

void Host::arrive() {
  plan_arrival();
  const std::uint8_t criticality = draw_class();
  // The balancer in front spreads evenly at random.
  const int process = static_cast<int>(random_.between(0, scenario_.processes - 1));
  const double work_ns = std::max(1.0, draw_work_ns());
  const bool fails = scenario_.failing > 0.0 && random_.unit() < scenario_.failing;
  measures_.asked(now_ns_, criticality, work_ns);
  const std::uint32_t index = new_job();
  Job& job = jobs_[index];
  job.asked_ns = now_ns_;
  job.process = process;
  job.criticality = criticality;
  if (!arm_->admits({now_ns_, process, static_cast<adaptive::Criticality>(criticality)})) {
    measures_.refused(now_ns_, now_ns_, criticality);
    if (scenario_.refuse_ns == 0) return free_job(index);
    job.refusal = true;
    job.left_ns = static_cast<double>(scenario_.refuse_ns);
    return start(index);
  }
  job.fails = fails;
  job.left_ns = fails ? work_ns / 50.0 : work_ns;
  if (scenario_.pause_ns > 0 && !fails) {
    job.later_ns = work_ns / 2.0;
    job.left_ns = work_ns / 2.0;
    job.pause_ns =
        static_cast<TimeNs>(exponential(random_, static_cast<double>(scenario_.pause_ns)));
  }
  patience_.push_back({now_ns_ + scenario_.patience_ns, index, job.generation});
  start(index);
}

void Host::start(std::uint32_t index) {
  Job& job = jobs_[index];
  ++runnable_;
  if (scenario_.fifo && static_cast<double>(running_.size()) >= cores()) {
    job.stage = Stage::queued;
    queue_.push_back({0.0, 0, index, job.generation});
    return;
  }
  job.stage = Stage::running;
  running_.push({machine_ns_ + job.left_ns, ++order_, index, job.generation});
}

// What runs on: everybody at the same pace, or the first ones at full speed.
void Host::advance(TimeNs to_ns) {
  const auto passed = static_cast<double>(to_ns - now_ns_);
  const auto jobs = static_cast<double>(runnable_);
  const double own = cores();
  const double pace = scenario_.fifo || jobs <= own ? 1.0 : own / jobs;
  machine_ns_ += passed * pace;
  const double taken = static_cast<double>(scenario_.cores) - own;
  busy_ns_ += passed * (std::min(jobs, own) + taken);
  if (jobs > own) waiting_ns_ += passed;
  now_ns_ = to_ns;
}

bool Host::current(const Entry& entry) const noexcept {
  const Job& job = jobs_[entry.job];
  return job.generation == entry.generation && job.stage == Stage::running;
}

TimeNs Host::next_end_ns() {
  while (!running_.empty() && !current(running_.top()))
    running_.pop();
  if (running_.empty()) return adaptive::kNever;
  const auto jobs = static_cast<double>(runnable_);
  const double pace = scenario_.fifo || jobs <= cores() ? 1.0 : cores() / jobs;
  const double left = std::max(0.0, running_.top().at - machine_ns_) / pace;
  return now_ns_ + static_cast<TimeNs>(std::ceil(left));
}

void Host::finish(std::uint32_t index) {
  Job& job = jobs_[index];
  --runnable_;
  if (job.pause_ns > 0) {
    job.stage = Stage::pausing;
    pausing_.push({static_cast<double>(now_ns_ + job.pause_ns), ++order_, index, job.generation});
    job.pause_ns = 0;
  } else if (job.refusal) {
    free_job(index);
  } else {
    leave(index, job.fails);
  }
  while (scenario_.fifo && !queue_.empty() && static_cast<double>(running_.size()) < cores()) {
    const Entry next = queue_.front();
    queue_.pop_front();
    Job& waiting = jobs_[next.job];
    if (waiting.generation != next.generation || waiting.stage != Stage::queued) continue;
    waiting.stage = Stage::running;
    running_.push({machine_ns_ + waiting.left_ns, ++order_, next.job, next.generation});
  }
}

void Host::leave(std::uint32_t index, bool failed) {
  const Job& job = jobs_[index];
  arm_->done({now_ns_, job.process, now_ns_ - job.asked_ns, failed});
  measures_.ended(now_ns_, job.asked_ns, job.criticality, !failed);
  free_job(index);
}

void Host::lose_patience() {
  const Patience patience = patience_.front();
  patience_.pop_front();
  const Job& job = jobs_[patience.job];
  if (job.generation != patience.generation) return;
  // Work that runs to its end on a core cannot be taken off it; its answer is late then.
  if (scenario_.fifo && job.stage == Stage::running) return;
  if (job.stage != Stage::pausing) --runnable_;
  leave(patience.job, true);
}

void Host::end_pauses() {
  const Entry entry = pausing_.top();
  pausing_.pop();
  Job& job = jobs_[entry.job];
  if (job.generation != entry.generation || job.stage != Stage::pausing) return;
  job.left_ns = job.later_ns;
  job.later_ns = 0.0;
  start(entry.job);
}

void Host::sample() {
  const auto passed = static_cast<double>(adaptive::kShedSampleNs);
  arm_->sample({.now_ns = now_ns_,
                .use = busy_ns_ / (passed * scenario_.cores),
                .pressure = waiting_ns_ / passed});
  busy_ns_ = 0.0;
  waiting_ns_ = 0.0;
  sample_ns_ += adaptive::kShedSampleNs;
}

std::uint32_t Host::new_job() {
  if (free_.empty()) {
    jobs_.emplace_back();
    return static_cast<std::uint32_t>(jobs_.size() - 1);
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  return index;
}

void Host::free_job(std::uint32_t index) {
  // A queue or heap may still name the job; the generation tells it that this is another one.
  const std::uint32_t generation = jobs_[index].generation + 1;
  jobs_[index] = Job{};
  jobs_[index].generation = generation;
  free_.push_back(index);
}

}  // namespace weir::overload
