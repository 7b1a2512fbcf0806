#include "sim/measures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "sim/max_min.h"

namespace weir::sim {
namespace {

Asker asker_of(const lease::LimitConfig& config, const std::string& host, double want) {
  Asker asker;
  asker.want = want;
  for (const lease::HostRule& rule : config.hosts)
    if (lease::matches(rule.pattern, host)) {
      asker.weight = rule.weight;
      asker.band = rule.band;
      asker.floor = tokens(rule.floor);
      break;
    }
  return asker;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  Spread spread;
  spread.count = values.size();
  if (values.empty()) return spread;
  std::sort(values.begin(), values.end());
  for (const double value : values)
    spread.mean += value;
  spread.mean /= static_cast<double>(values.size());
  const auto at = [&](double part) {
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
  };
  spread.least = values.front();
  spread.p1 = at(0.01);
  spread.p50 = at(0.50);
  spread.p95 = at(0.95);
  spread.p99 = at(0.99);
  spread.most = values.back();
  return spread;
}

bool Convergence::is_off(const Goal& goal, double rate) const {
  if (goal.fair < kLeast) return false;
  if (rate < goal.fair * (1 - kPart)) return true;
  return !goal.full && rate > goal.fair * (1 + kPart);
}

void Convergence::start(const std::vector<double>& wants, double capacity, TimeNs now_ns) {
  stop();
  std::vector<Asker> askers;
  for (const double want : wants)
    askers.push_back({want, 1, 0, 0});
  const std::vector<double> fair = max_min(askers, capacity);
  goals_.assign(wants.size(), {});
  rates_.resize(wants.size(), 0);
  off_ = 0;
  for (std::size_t host = 0; host < wants.size(); ++host) {
    goals_[host].fair = fair[host];
    goals_[host].full = fair[host] >= wants[host];
    goals_[host].off = is_off(goals_[host], rates_[host]);
    off_ += goals_[host].off ? 1 : 0;
  }
  since_ns_ = now_ns;
  running_ = off_ > 0;
  if (!running_) found_.push_back(0);
}

void Convergence::held(std::uint32_t host, double rate, TimeNs now_ns) {
  if (host >= rates_.size()) return;
  rates_[host] = rate;
  if (!running_) return;
  const bool off = is_off(goals_[host], rate);
  if (off == goals_[host].off) return;
  goals_[host].off = off;
  off_ = off ? off_ + 1 : off_ - 1;
  if (off_ > 0) return;
  running_ = false;
  found_.push_back(static_cast<double>(now_ns - since_ns_) / refresh_ns);
}

std::string Convergence::who_is_off() const {
  std::string text;
  char one[80];
  for (std::size_t host = 0; running_ && host < goals_.size(); ++host) {
    if (!goals_[host].off) continue;
    std::snprintf(one, sizeof one, " %zu: %.4g of %.4g%s", host, rates_[host], goals_[host].fair,
                  goals_[host].full ? " (full)" : "");
    text += one;
  }
  return text;
}

void Convergence::stop() {
  if (running_) found_.push_back(kNotYet);
  running_ = false;
}

Measures::Measures(const Setup& setup)
    : setup_(setup), warm_up_ns_(static_cast<TimeNs>(setup.warm_up_s * 1e9)) {
  limits_.resize(setup.limits.size());
  for (std::size_t i = 0; i < limits_.size(); ++i) {
    limits_[i].convergence.refresh_ns = static_cast<double>(setup.refresh_ns);
    // A bin has room for some tokens, however slow the limit is.
    const Micro rate = std::max<Micro>(1, setup.limits[i].config.rate);
    limits_[i].bin_ns =
        std::max(lease::kSecond, lease::mul_div(10 * lease::kToken, lease::kSecond, rate));
  }
}

void Measures::shift(std::uint32_t limit, const std::vector<double>& wants, TimeNs now_ns) {
  limits_[limit].interval_whole = false;
  const double rate = tokens(setup_.limits[limit].config.rate);
  limits_[limit].convergence.start(wants, rate, now_ns);
}

void Measures::held(std::uint32_t host, std::uint32_t limit, Micro rate, TimeNs now_ns) {
  limits_[limit].convergence.held(host, tokens(rate), now_ns);
}

void Measures::step(const std::vector<std::unique_ptr<Host>>& hosts, const Watches& watches,
                    TimeNs now_ns) {
  for (std::uint32_t index = 0; index < limits_.size(); ++index) {
    Limit& limit = limits_[index];
    if (!watches[index].leaf) continue;
    const bool bin_ends = now_ns - limit.bin.from_ns >= limit.bin_ns;
    const bool interval_ends = now_ns - limit.interval_from_ns >= kIntervalNs;
    if (!bin_ends && !interval_ends) continue;
    if (bin_ends) {
      Bin now{now_ns, 0, 0, watches[index].config.rate};
      for (const auto& host : hosts) {
        now.offered += host->rows()[index].offered();
        now.spent += host->rows()[index].spent();
      }
      close_bin(limit, watches[index], now);
    }
    if (interval_ends) close_interval(index, hosts, watches[index], now_ns);
  }
}

void Measures::close_bin(Limit& limit, const Watch& watch, const Bin& now) {
  const Bin before = std::exchange(limit.bin, now);
  const double seconds = static_cast<double>(now.from_ns - before.from_ns) / 1e9;
  const double capacity = tokens(watch.config.rate) * seconds;
  const auto offered = static_cast<double>(now.offered - before.offered);
  const auto spent = static_cast<double>(now.spent - before.spent);
  const bool each = watch.config.threshold == lease::Threshold::per_host;
  if (each || before.rate != now.rate || offered < capacity) return;
  limit.last_use = spent / capacity;
  if (before.from_ns < warm_up_ns_) return;
  limit.used += spent;
  limit.capacity += capacity;
  limit.contended_s += seconds;
}

void Measures::close_interval(std::uint32_t index, const std::vector<std::unique_ptr<Host>>& hosts,
                              const Watch& watch, TimeNs now_ns) {
  Limit& limit = limits_[index];
  const double seconds = static_cast<double>(now_ns - limit.interval_from_ns) / 1e9;
  const bool judged = limit.interval_whole && limit.interval_from_ns >= warm_up_ns_;
  limit.interval_from_ns = now_ns;
  limit.interval_whole = true;
  limit.hosts.resize(hosts.size());
  std::vector<Asker> askers;
  std::vector<double> got;
  double asked = 0;
  double given = 0;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const Row& row = hosts[i]->rows()[index];
    Snapshot& before = limit.hosts[i];
    askers.push_back(asker_of(watch.config, hosts[i]->name(),
                              static_cast<double>(row.offered() - before.offered) / seconds));
    got.push_back(static_cast<double>(row.spent() - before.spent) / seconds);
    asked += askers.back().want;
    given += got.back();
    before = {row.offered(), row.spent()};
  }
  if (!judged || asked < tokens(watch.config.rate)) return;
  // Fairness judges how what was given is divided; how much that was is what `use` says.
  const std::vector<double> fair = max_min(askers, std::min(asked, given));
  limit.jain.push_back(jain(got, fair, kSmallShare));
  double off = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    off += std::abs(got[i] - fair[i]);
  if (given > 0) limit.unfair.push_back(off / given);
}

LimitFigures Measures::figures(std::uint32_t index, const Watch& watch) const {
  const Limit& limit = limits_[index];
  LimitFigures figures;
  const double rate = static_cast<double>(watch.config.rate);
  const double burst = static_cast<double>(watch.config.burst);
  figures.use = limit.capacity > 0 ? limit.used / limit.capacity : 0;
  figures.contended_s = limit.contended_s;
  figures.peak = static_cast<double>(watch.peak_all.worst()) / std::max(1.0, rate + burst);
  figures.peak_of_rate = static_cast<double>(watch.peak_all.worst()) / std::max(1.0, rate);
  figures.held_peak = static_cast<double>(watch.held_rate_peak) / std::max(1.0, rate);
  figures.jain = spread_of(limit.jain);
  figures.unfair = spread_of(limit.unfair);
  Convergence copy = limit.convergence;
  std::vector<double> found = copy.found();
  if (!found.empty()) {
    figures.first = spread_of({found.front()});
    found.erase(found.begin());
  }
  figures.convergence = spread_of(found);
  figures.moves = std::move(found);
  figures.jains = limit.jain;
  figures.unfairs = limit.unfair;
  return figures;
}

}  // namespace weir::sim
