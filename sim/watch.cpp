#include "sim/watch.h"

#include <algorithm>

namespace weir::sim {
namespace {

bool earlier(const Admission& a, const Admission& b) { return a.at_ns < b.at_ns; }

}  // namespace

void Watches::configure(const std::vector<lease::LimitConfig>& limits, TimeNs memory_ns) {
  const auto index_of = [&](const std::string& name) {
    const auto found = std::find_if(watches_.begin(), watches_.end(),
                                    [&](const Watch& watch) { return watch.config.name == name; });
    return static_cast<std::uint32_t>(found - watches_.begin());
  };
  for (const lease::LimitConfig& limit : limits) {
    const std::uint32_t index = index_of(limit.name);
    if (index == watches_.size()) {
      watches_.emplace_back();
      watches_.back().in_force = InForce(memory_ns);
      watches_.back().id = lease::limit_id(limit.name);
    }
    watches_[index].config = limit;
  }
  for (Watch& watch : watches_)
    watch.leaf = true;
  for (Watch& watch : watches_) {
    if (watch.config.parent.empty()) continue;
    watch.parent = index_of(watch.config.parent);
    watches_[watch.parent].leaf = false;
  }
  gathered_.resize(watches_.size());
  gathered_outside_.resize(watches_.size());
}

void Watches::change_held(std::uint32_t limit, Micro more_rate, Micro more_burst) {
  for (std::uint32_t at = limit; at != lease::kNone; at = watches_[at].parent) {
    Watch& watch = watches_[at];
    watch.held.change(more_rate, more_burst);
    watch.held_rate_peak = std::max(watch.held_rate_peak, watch.held.hosts().rate);
    if (watch.touched) continue;
    watch.touched = true;
    touched_.push_back(at);
  }
}

void Watches::judge() {
  for (std::uint32_t index = 0; index < size(); ++index) {
    AdmissionLog& log = watches_[index].log;
    std::sort(log.admitted.begin(), log.admitted.end(), earlier);
    std::sort(log.outside.begin(), log.outside.end(), earlier);
    for (std::uint32_t at = index; at != lease::kNone; at = watches_[at].parent) {
      auto& all = gathered_[at];
      all.insert(all.end(), log.admitted.begin(), log.admitted.end());
      auto& outside = gathered_outside_[at];
      outside.insert(outside.end(), log.outside.begin(), log.outside.end());
    }
    log.admitted.clear();
    log.outside.clear();
  }
  for (std::uint32_t index = 0; index < size(); ++index) {
    Watch& watch = watches_[index];
    auto& all = gathered_[index];
    auto& outside = gathered_outside_[index];
    if (!watch.leaf) {
      std::sort(all.begin(), all.end(), earlier);
      std::sort(outside.begin(), outside.end(), earlier);
    }
    auto other = outside.begin();
    for (const Admission& one : all) {
      for (; other != outside.end() && other->at_ns < one.at_ns; ++other) {
        watch.meter_all.admit(other->amount, other->at_ns);
        watch.peak_all.admit(other->amount, other->at_ns);
      }
      watch.meter.admit(one.amount, one.at_ns);
      watch.peak.admit(one.amount, one.at_ns);
      watch.meter_all.admit(one.amount, one.at_ns);
      watch.peak_all.admit(one.amount, one.at_ns);
    }
    for (; other != outside.end(); ++other) {
      watch.meter_all.admit(other->amount, other->at_ns);
      watch.peak_all.admit(other->amount, other->at_ns);
    }
    all.clear();
    outside.clear();
  }
}

}  // namespace weir::sim
