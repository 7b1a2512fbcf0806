#include "adaptive/shedder.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive {
namespace {

// More than any host does between two calls; a sum above it is damage.
constexpr std::uint64_t kRequestsMax = 1'000'000'000;
constexpr double kInFlightMax = 1e6;
constexpr double kTrimMax = 64.0;
// Where the servo leaves the limit alone. It aims below a full machine, since a queue that never
// runs dry is one that nobody needed.
constexpr double kUseLow = 0.94;
constexpr double kUseHigh = 0.975;
// From less use than this nobody can tell how much a full machine would do.
constexpr double kUseLearnMin = 0.25;
// A host of few cores meets gaps that the root of so little would not bridge; one core pays for
// each place with the response time of all others, so that it gets the least.
constexpr double kHeadroomMin = 2.1;
constexpr double kHeadroomMore = 0.3;  // for each one in service
constexpr double kHeadroomSmall = 2.8;
constexpr double kServoSlowness = 1.6;
constexpr TimeNs kServoAfterNs = 500 * kMs;
constexpr double kSurgeFactor = 3.0;
constexpr double kSurgeExtra = 16.0;
constexpr double kSurgeDoubtMax = 16.0;
constexpr TimeNs kSurgeProofNs = 300 * kMs;
constexpr TimeNs kSurgeDoubtFadesNs = 5 * kSecond;
// Counts over a longer time say nothing about a rate over a second.
constexpr TimeNs kGapMaxNs = 500 * kMs;
// The published constant: 0.95 a sample of half a second.
constexpr TimeNs kSlowTauNs = 9'750 * kMs;
constexpr TimeNs kFloorTauNs = 10 * kSecond;
constexpr double kBaselineCountMin = 0.5;  // responses, weighted
constexpr double kCalmPressure = 150.0;    // permille at which a moment is no longer calm
constexpr double kCalmMin = 0.01;
constexpr double kBlindSlowness = 2.5;
// How many standard deviations of a count are taken for chance.
constexpr double kChance = 3.0;

double cut(std::uint64_t count) noexcept {
  return static_cast<double>(std::min(count, kRequestsMax));
}

double cut_time(std::uint64_t sum_ns, double count) noexcept {
  return std::min(static_cast<double>(sum_ns), count * static_cast<double>(kResponseMaxNs));
}

std::int32_t cut_permille(std::int32_t permille) noexcept {
  return permille < 0 ? -1 : std::min(permille, 1000);
}

}  // namespace

Shedder::Shedder(const ShedderOptions& options) noexcept
    : options_(options),
      cpu_(options.mends.fast_signal ? std::max<TimeNs>(options.signal_tau_ns, kMs) : kSlowTauNs) {
  options_.hold_ns = std::clamp<TimeNs>(options_.hold_ns, 0, 3600 * kSecond);
  options_.limit_min = std::clamp(options_.limit_min, 1U, kShedLimitMax);
  find_limits();
  publish(0);
}

void Shedder::on_signal(TimeNs now_ns, const Signal& signal) noexcept {
  const TimeNs at_ns = time_.at(now_ns);
  signal_ = signal;
  signal_.cpu_permille = cut_permille(signal.cpu_permille);
  signal_.pressure_permille = cut_permille(signal.pressure_permille);
  signal_.throttled_permille = cut_permille(signal.throttled_permille);
  if (signal_.cpu_permille < 0 && signal_.pressure_permille < 0) return;
  signal_at_ns_ = at_ns;
  const bool full =
      signal_.cpu_permille >= 950 || signal_.pressure_permille >= options_.pressure_hot_permille;
  full_samples_ = full ? std::min(full_samples_ + 1, 2) : 0;
  if (signal_.cpu_permille < 0) return;
  cpu_.add(at_ns, signal_.cpu_permille);
  Cell& cell = cells_.at(at_ns);
  cell.cpu_sum += static_cast<double>(signal_.cpu_permille) / 1000.0;
  cell.cpu_count += 1.0;
}

void Shedder::on_traffic(TimeNs now_ns, const Traffic& traffic) noexcept {
  const bool begun = time_.begun();
  const TimeNs before_ns = begun ? last_traffic_ns_ : 0;
  const TimeNs at_ns = time_.at(now_ns);
  last_traffic_ns_ = at_ns;
  Cell& cell = cells_.at(at_ns);
  capacities_.roll(at_ns);
  if (at_ns - before_ns > kGapMaxNs) {
    // The agent slept: the counts belong to a time that the cells do not show.
    waiting_count_ = 0;
    gap_at_ns_ = at_ns;
  } else {
    const bool apart = options_.mends.errors_apart;
    const double succeeded = cut(traffic.succeeded) + (apart ? 0.0 : cut(traffic.failed));
    cell.succeeded += succeeded;
    cell.succeeded_ns +=
        cut_time(sat_add(traffic.succeeded_ns, apart ? 0 : traffic.failed_ns), succeeded);
    for (std::size_t i = 0; i < kClasses; ++i) {
      cell.asked[i] += cut(traffic.asked[i]);
      cell.refused += cut(traffic.refused[i]);
    }
  }
  if (cells_.rolled() != cells_seen_) {
    cells_seen_ = cells_.rolled();
    cell_from_ns_ = before_ns;  // what a call brings happened before it
    on_cell(at_ns);
  }
  blind_ = blind(at_ns);
  gate(at_ns, traffic);
  find_limits();
  publish(at_ns);
}

void Shedder::on_cell(TimeNs at_ns) noexcept {
  learn_capacity(at_ns);
  learn_baseline(at_ns);
  turn_servo(at_ns);
}

// The largest rate of the last five seconds; a half idle machine counts with what it would do if it
// were full, so that the first second of an overload does not run on yesterday's low rate.
void Shedder::learn_capacity(TimeNs at_ns) noexcept {
  const auto succeeded = [](const Cell& cell) { return cell.succeeded; };
  if (!options_.mends.second_rates) {
    const double best = max_sum(cells_, 1, succeeded);
    capacity_per_second_ = best * 10.0;
    return;
  }
  // After a gap the last second is not whole yet.
  if (cells_.complete() < kSecondCells || since(gap_at_ns_, at_ns) <= kSecond + 100 * kMs) return;
  const double rate = newest_sum(cells_, kSecondCells, succeeded);
  const double use = cpu_second(1.0);
  CapacityCell& cell = capacities_.at(at_ns);
  if (rate > 0.0 && (use >= kUseLearnMin || capacity_per_second_ <= 0.0))
    cell.per_second = rate / std::max(use, kUseLearnMin);
  cell.per_second = std::max(cell.per_second, rate);
  double best = cell.per_second;
  capacities_.each_complete([&](const CapacityCell& c) { best = std::max(best, c.per_second); });
  const bool idle = use < kUseLearnMin && best < capacity_per_second_;
  if (best > 0.0 && !(idle && options_.mends.sane_cold_start)) capacity_per_second_ = best;
}

// The response time without queueing. What a cell shows is believed only when another second has
// passed in which nothing was hot: a queue is in the response times before any signal shows it.
void Shedder::learn_baseline(TimeNs at_ns) noexcept {
  if (!options_.mends.freeze_baseline) {
    double best = 0.0;
    cells_.each_complete([&](const Cell& cell) {
      if (cell.succeeded <= 0.0) return;
      const double mean = cell.succeeded_ns / cell.succeeded;
      best = best <= 0.0 ? mean : std::min(best, mean);
    });
    if (best > 0.0 || !options_.mends.sane_cold_start) baseline_ns_ = best;
    return;
  }
  const bool is_quiet = quiet(at_ns);
  if (!is_quiet && signal_.pressure_permille < 0) {
    waiting_count_ = 0;
    return;
  }
  if (waiting_count_ == kSecondCells) {
    believe(at_ns, waiting_[0]);
    std::rotate(waiting_.begin(), waiting_.begin() + 1, waiting_.end());
    --waiting_count_;
  }
  // Responses of a calm moment may have waited in the one before. Without tasks that wait for a
  // CPU a moment is calm however busy it is; this is how a host that is never quiet learns.
  const double calm = calmness();
  const double weight = std::max(is_quiet ? kCalmMin : 0.0, std::min(calm, calm_before_));
  calm_before_ = calm;
  const Cell& cell = cells_.newest();
  waiting_[waiting_count_++] = {cell.succeeded * weight, cell.succeeded_ns * weight};
}

// A mean over about ten seconds in which every response counts as much as its moment was calm.
void Shedder::believe(TimeNs at_ns, const Waiting& seen) noexcept {
  const auto elapsed = static_cast<double>(std::min(since(baseline_at_ns_, at_ns), kSecond));
  const double fade = std::exp(-elapsed / static_cast<double>(kFloorTauNs));
  if (seen.count <= 0.0) return;  // an idle time is no reason to forget
  baseline_at_ns_ = at_ns;
  believed_.count = believed_.count * fade + seen.count;
  believed_.sum_ns = believed_.sum_ns * fade + seen.sum_ns;
  const bool enough = believed_.count >= kBaselineCountMin || baseline_ns_ > 0.0;
  if (enough) baseline_ns_ = believed_.sum_ns / believed_.count;
}

// How much the newest cell tells about responses without queueing. Where the host is never calm,
// the little that the other moments count adds up.
double Shedder::calmness() const noexcept {
  if (signal_.pressure_permille >= 0)
    return std::max(0.0, 1.0 - signal_.pressure_permille / kCalmPressure);
  if (signal_.cpu_permille >= 0)
    return std::clamp((900.0 - signal_.cpu_permille) / 400.0, 0.0, 1.0);
  return 1.0;
}

void Shedder::turn_servo(TimeNs at_ns) noexcept {
  if (!options_.mends.use_servo) return;
  double cpu_sum = 0.0;
  double cpu_count = 0.0;
  double refused = 0.0;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, cells_.complete()); ++i) {
    cpu_sum += cells_.newest(i).cpu_sum;
    cpu_count += cells_.newest(i).cpu_count;
    refused += cells_.newest(i).refused;
  }
  // Samples from before the gate opened say nothing about what the limit does.
  const bool settled = since(opened_at_ns_, at_ns) > kServoAfterNs;
  if (!open_ || !settled || refused <= 0.0 || cpu_count <= 0.0 || blind(at_ns)) {
    if (!open_) trim_ += (1.0 - trim_) * 0.01;
    return;
  }
  const double use = cpu_sum / cpu_count;
  // With a queue the CPU idles by chance, between arrivals, and more room would only be more queue.
  const bool queues =
      baseline_ns_ > 0.0 && response_second_ns(10.0) > kServoSlowness * baseline_ns_;
  if (use < kUseLow && !queues)
    trim_ = std::min(kTrimMax, trim_ * (1.0 + std::min(0.2, kUseLow - use)));
  if ((use > kUseHigh || queues) && trim_ > 1.0) trim_ = std::max(1.0, trim_ * 0.99);
}

bool Shedder::signal_hot(TimeNs at_ns) const noexcept {
  if (blind(at_ns)) return latency_hot();
  if (cpu_.value() >= options_.cpu_hot_permille) return true;
  if (!options_.mends.fast_signal) return false;
  // One full tenth of a second is chance on a host of few cores; what is sudden, the surge shows.
  return full_samples_ >= 2 || signal_.throttled_permille >= options_.throttled_hot_permille;
}

// Without any signal of the CPU, work that takes much longer than it used to is the only sign.
bool Shedder::latency_hot() const noexcept {
  const double mean_ns = response_second_ns(10.0);
  return baseline_ns_ > 0.0 && mean_ns > kBlindSlowness * baseline_ns_;
}

void Shedder::gate(TimeNs at_ns, const Traffic& traffic) noexcept {
  const bool hot = signal_hot(at_ns);
  const double in_flight = std::min(static_cast<double>(traffic.in_flight), kInFlightMax);
  if (hot) {
    if (options_.mends.refresh_hold || !open_) hot_at_ns_ = at_ns;
    surge_until_ns_ = -kNever;
  }
  if (options_.mends.surge_gate && !hot && surge_limit_ > 0.0 && in_flight + 1 >= surge_limit_ &&
      surge_until_ns_ < at_ns - kSecond)
    surge_until_ns_ = at_ns + kSurgeProofNs;
  const bool surge = surge_until_ns_ >= at_ns;
  if (!surge && surge_until_ns_ > -kNever) {
    // The time for a proof is over and no signal came: much in flight is normal here.
    surge_doubt_ = std::min(kSurgeDoubtMax, surge_doubt_ * 2.0);
    surge_doubted_ns_ = at_ns;
    surge_until_ns_ = -kNever;
  }
  if (surge_doubt_ > 1.0 && since(surge_doubted_ns_, at_ns) > kSurgeDoubtFadesNs) {
    surge_doubt_ = std::max(1.0, surge_doubt_ / 2.0);
    surge_doubted_ns_ = at_ns;
  }
  const bool held = since(hot_at_ns_, at_ns) <= options_.hold_ns;
  const bool opens = hot || surge || held;
  if (opens && !open_) {
    opened_at_ns_ = at_ns;
    // The last second was the onset, whatever the signals said then.
    waiting_count_ = 0;
  }
  open_ = opens;
}

void Shedder::find_limits() noexcept {
  double capacity = capacity_per_second_;
  double baseline_ns = baseline_ns_;
  if (!options_.mends.fractional_rt) {
    const double ms = static_cast<double>(kMs);
    baseline_ns = std::max(1.0, std::ceil(baseline_ns / ms)) * ms;
  }
  double base = capacity * baseline_ns * 1e-9;
  const bool known = capacity > 0.0 && baseline_ns > 0.0;
  double least = options_.limit_min;
  if (options_.mends.sane_cold_start) {
    if (!known) base = cpus();
    least = std::max(least, std::ceil(cpus()));
  }
  base = std::min(base * trim_, kInFlightMax);
  const double small = std::min(kHeadroomMin + kHeadroomMore * base, kHeadroomSmall);
  limit_ = base + (options_.mends.headroom ? std::max(std::sqrt(base), small) : 0.0);
  limit_ = std::clamp(limit_, least, static_cast<double>(kShedLimitMax));
  surge_limit_ = 0.0;
  if (known && options_.mends.surge_gate)
    surge_limit_ = std::min(std::max(kSurgeFactor * base + kSurgeExtra, limit_) * surge_doubt_,
                            static_cast<double>(kShedLimitMax));
}

void Shedder::publish(TimeNs at_ns) noexcept {
  if (blind_ && options_.blind_limit != 0) {
    words_ = fixed_words(options_.blind_limit);
    return;
  }
  const bool limit_known = cpus() > 0.0 || (capacity_per_second_ > 0.0 && baseline_ns_ > 0.0);
  if (!open_ || (!limit_known && options_.mends.sane_cold_start)) {
    words_ = ShedWords{};
    if (surge_limit_ <= 0.0) return;
    // Until the plan is made, twice the room is all that tells the most important class apart.
    const auto field = static_cast<std::uint32_t>(surge_limit_) + 1;
    const std::uint32_t most = std::min(2 * field, kShedLimitMax + 1);
    words_.limits = pack_classes({most, field, field, field});
    return;
  }
  ClassDemand demand{.capacity_per_second = capacity_per_second_,
                     .asked_per_second = {},
                     .calm_limit = surge_limit_};
  for (std::size_t i = 0; i < kClasses; ++i)
    demand.asked_per_second[i] = asked_per_second(at_ns, i);
  words_ = plan_classes(limit_, demand, options_.classes);
}

// The mean of a second, so that chance does not take a class that just fits for one that does not;
// but a step must not be served by the plan for the time before it, so that what the last moments
// show rules as soon as it is more or less than chance makes of such a mean.
double Shedder::asked_per_second(TimeNs at_ns, std::size_t index) const noexcept {
  const auto asked = [index](const Cell& cell) { return cell.asked[index]; };
  const std::size_t complete = std::min(3 * kSecondCells, cells_.complete());
  double rate = 0.0;
  if (complete > 0)
    rate = newest_sum(cells_, complete, asked) / (0.1 * static_cast<double>(complete));
  const auto correct = [&rate](double count, double span_s) {
    const double chance = kChance * std::sqrt(count);
    rate = within(rate, (count - chance) / span_s, (count + chance + kChance) / span_s, rate);
  };
  for (const std::size_t span : {kSecondCells, std::size_t{5}, std::size_t{2}, std::size_t{1}}) {
    if (span > complete) continue;
    correct(newest_sum(cells_, span, asked), 0.1 * static_cast<double>(span));
  }
  const double passed_s = seconds(at_ns - cell_from_ns_);
  if (passed_s > 0.0) correct(asked(cells_now()), passed_s);
  return rate;
}

double Shedder::cpu_second(double unknown) const noexcept {
  const double sum =
      newest_sum(cells_, kSecondCells, [](const Cell& cell) { return cell.cpu_sum; });
  const double count =
      newest_sum(cells_, kSecondCells, [](const Cell& cell) { return cell.cpu_count; });
  return count > 0.0 ? sum / count : unknown;
}

double Shedder::response_second_ns(double count_min) const noexcept {
  const double count =
      newest_sum(cells_, kSecondCells, [](const Cell& cell) { return cell.succeeded; });
  const double sum =
      newest_sum(cells_, kSecondCells, [](const Cell& cell) { return cell.succeeded_ns; });
  return count >= count_min ? sum / count : 0.0;
}

bool Shedder::quiet(TimeNs at_ns) const noexcept {
  if (open_ || signal_hot(at_ns) || surge_until_ns_ > -kNever) return false;
  return signal_.cpu_permille < options_.cpu_hot_permille;
}

bool Shedder::blind(TimeNs at_ns) const noexcept {
  return since(signal_at_ns_, at_ns) > options_.signal_stale_ns;
}

double Shedder::cpus() const noexcept {
  return signal_.capacity_millicpus > 0
             ? std::min(static_cast<double>(signal_.capacity_millicpus) / 1000.0, 65'536.0)
             : 0.0;
}

Shedder::View Shedder::view() const noexcept {
  return {.shedding = open_,
          .blind = blind_,
          .baseline_known = baseline_ns_ > 0.0,
          .limit = limit_,
          .surge_limit = surge_limit_,
          .capacity_per_second = capacity_per_second_,
          .baseline_ns = baseline_ns_,
          .trim = trim_,
          .cpu_permille = cpu_.value()};
}

}  // namespace weir::adaptive
