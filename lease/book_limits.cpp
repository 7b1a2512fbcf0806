// The rules in force, and what the book says to people.
#include <algorithm>
#include <set>

#include "lease/book.h"
#include "lease/book_parts.h"

namespace weir::lease {
namespace {

// What is wrong with a set of limits, or an empty text.
std::string problem_of(const std::vector<LimitConfig>& limits) {
  std::map<LimitId, const LimitConfig*> by_id;
  for (const LimitConfig& limit : limits) {
    const auto [at, fresh] = by_id.emplace(limit_id(limit.name), &limit);
    if (!fresh && at->second->name == limit.name) return "limit '" + limit.name + "' stands twice";
    if (!fresh)
      return "limits '" + at->second->name + "' and '" + limit.name +
             "' have the same id; rename one of them";
    if (limit.rate < 0 || limit.rate > kMicroMax || limit.burst < 0 || limit.burst > kMicroMax)
      return "limit '" + limit.name + "': rate or burst is out of range";
    if (limit.weight == 0) return "limit '" + limit.name + "': weight 0";
  }
  for (const LimitConfig& limit : limits) {
    std::set<LimitId> seen{limit_id(limit.name)};
    for (const LimitConfig* at = &limit; !at->parent.empty();) {
      const auto above = by_id.find(limit_id(at->parent));
      if (above == by_id.end())
        return "limit '" + at->name + "' names a parent that is not there: '" + at->parent + "'";
      if (!seen.insert(above->first).second)
        return "limit '" + limit.name + "' is its own ancestor";
      at = above->second;
    }
  }
  return {};
}

}  // namespace

bool Book::set_limits(const std::vector<LimitConfig>& limits, TimeNs now_ns, std::string& why) {
  why = problem_of(limits);
  if (!why.empty()) return false;
  std::set<LimitId> named;
  for (const LimitConfig& config : limits) {
    const LimitId id = limit_id(config.name);
    named.insert(id);
    if (limit_index_.contains(id)) continue;
    limit_index_[id] = static_cast<std::uint32_t>(limits_.size());
    limits_.emplace_back();
    limits_.back().id = id;
    limits_.back().level_ns = now_ns;
  }
  for (std::uint32_t index = 0; index < limits_.size(); ++index)
    if (limits_[index].active && !named.contains(limits_[index].id)) end_limit(index, now_ns);
  link_families(limits, now_ns);
  for (const LimitConfig& config : limits)
    apply_config(limit_index_.at(limit_id(config.name)), config, now_ns);
  return true;
}

// Takes the sums of all limits apart and puts them together along the new ancestors.
void Book::link_families(const std::vector<LimitConfig>& limits, TimeNs now_ns) {
  for (LimitState& limit : limits_) {
    limit.settle(now_ns);
    if (limit.fair_in_parent != kNone) limits_[limit.parent].fair.remove(limit.fair_in_parent);
    limit.fair_in_parent = kNone;
    limit.parent = kNone;
    limit.children.clear();
  }
  family_order_.clear();
  for (const LimitConfig& config : limits) {
    if (config.parent.empty()) continue;
    const std::uint32_t child = limit_index_.at(limit_id(config.name));
    limits_[child].parent = limit_index_.at(limit_id(config.parent));
    limits_[limits_[child].parent].children.push_back(child);
    family_order_.push_back(child);
  }
  const auto depth = [&](std::uint32_t at) {
    std::size_t steps = 0;
    for (; limits_[at].parent != kNone; at = limits_[at].parent)
      ++steps;
    return steps;
  };
  std::stable_sort(family_order_.begin(), family_order_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return depth(a) < depth(b); });
  families_ = family_order_.size();
  for (LimitState& limit : limits_)
    limit.total_rate = limit.total_burst = 0;
  for (std::uint32_t index = 0; index < limits_.size(); ++index) {
    LimitState& limit = limits_[index];
    if (!limit.leaf()) {  // a parent is not spent from
      limit.server_rate = limit.server_burst = limit.level = 0;
    }
    for (std::uint32_t at = index; at != kNone; at = limits_[at].parent) {
      limits_[at].total_rate += limit.host_rate + limit.server_rate;
      limits_[at].total_burst += limit.host_burst + limit.server_burst;
    }
  }
}

void Book::apply_config(std::uint32_t index, const LimitConfig& config, TimeNs now_ns) {
  LimitState& limit = limits_[index];
  const bool hosts_differ = limit.config.hosts != config.hosts;
  limit.config = config;
  limit.active = true;
  limit.margin_ppm = mutants.full_mint ? 0 : kDriftPpm;
  const auto times = config.threshold == Threshold::per_host
                         ? static_cast<Micro>(std::max<std::size_t>(1, live_))
                         : 1;
  limit.rate = std::min(kMicroMax, mul_div(config.rate, times, 1));
  limit.burst = std::min(kMicroMax, mul_div(config.burst, times, 1));
  if (hosts_differ)
    for (const auto& [at, row] : limit.members)
      apply_host_rules(row_at({at, row}));
  if (limit.parent == kNone) limit.fair.set_capacity(limit.rate - limit.reserve_rate());
  limit.fair.refresh();
  resize(limit, now_ns);
  want_attention(index);
}

void Book::apply_host_rules(Row& row) {
  LimitState& limit = limits_[row.limit];
  FairShare::Holder fair;
  fair.want = row.fair.want;
  for (const HostRule& rule : limit.config.hosts)
    if (matches(rule.pattern, holders_[row.holder].id.host)) {
      fair.weight = std::max(1U, rule.weight);
      fair.band = rule.band;
      fair.floor = rule.floor;
      break;
    }
  row.fair = fair;
  if (row.slot != kNone) limit.fair.set(row.slot, row.fair);
}

void Book::end_limit(std::uint32_t index, TimeNs now_ns) {
  LimitState& limit = limits_[index];
  limit.active = false;
  limit.rate = limit.burst = 0;
  for (const auto& [at, row] : limit.members)
    leave_fair(row_at({at, row}));
  limit.turns.clear();
  limit.short_.clear();
  limit.head_need = 0;
  resize(limit, now_ns);
}

// Limits that are multiplied by the hosts follow their number.
void Book::rescale(TimeNs now_ns) {
  for (std::uint32_t index = 0; index < limits_.size(); ++index) {
    LimitState& limit = limits_[index];
    if (!limit.active || limit.config.threshold != Threshold::per_host) continue;
    const LimitConfig config = limit.config;
    apply_config(index, config, now_ns);
  }
}

std::vector<Book::LimitReport> Book::limits(TimeNs now_ns) const {
  std::vector<LimitReport> reports;
  for (const LimitState& limit : limits_) {
    if (!limit.active) continue;
    LimitReport report;
    report.name = limit.config.name;
    report.id = limit.id;
    report.rate = limit.rate;
    report.burst = limit.burst;
    report.leased_rate = limit.leaf() ? limit.host_rate : limit.total_rate;
    report.leased_burst = limit.leaf() ? limit.host_burst : limit.total_burst;
    report.server_rate = limit.server_rate;
    report.server_burst = limit.server_burst;
    report.server_level = limit.level_at(now_ns);
    report.want_total = limit.fair.want_total();
    report.hosts = static_cast<std::uint32_t>(limit.members.size());
    report.waiting = static_cast<std::uint32_t>(limit.turns.size());
    report.spent_total = limit.spent_total;
    report.refused_total = limit.refused_total;
    reports.push_back(std::move(report));
  }
  return reports;
}

void Book::sums(std::vector<Sums>& sums) const {
  sums.clear();
  for (const LimitState& limit : limits_) {
    if (!limit.active) continue;
    sums.push_back({limit.id, limit.rate, limit.burst,
                    limit.leaf() ? limit.host_rate : limit.total_rate,
                    limit.leaf() ? limit.host_burst : limit.total_burst, limit.server_rate,
                    limit.server_burst});
  }
}

std::vector<Book::HostReport> Book::hosts_of(LimitId id) const {
  std::vector<HostReport> reports;
  const auto found = limit_index_.find(id);
  if (found == limit_index_.end()) return reports;
  const LimitState& limit = limits_[found->second];
  for (const auto& [at, index] : limit.members) {
    const Holder& holder = holders_[at];
    const Row& row = holder.rows[index];
    HostReport report;
    report.host = holder.id.host;
    report.held = row.held;
    report.want = row.want;
    report.share = row.slot == kNone ? 0 : limit.fair.share(row.slot);
    report.weight = row.fair.weight;
    report.band = row.fair.band;
    report.live = holder.live;
    report.token_mode = row.token_mode;
    report.heard_ns = holder.heard_ns;
    report.since_ns = row.since_ns;
    report.spent_total = row.spent;
    report.refused_total = row.refused;
    reports.push_back(std::move(report));
  }
  return reports;
}

std::pair<Micro, Micro> Book::counted(LimitId id) const {
  const auto found = limit_index_.find(id);
  if (found == limit_index_.end()) return {0, 0};
  const LimitState& limit = limits_[found->second];
  return {limit.total_rate, limit.total_burst};
}

Micro Book::server_level(LimitId id, TimeNs now_ns) const {
  const auto found = limit_index_.find(id);
  if (found == limit_index_.end()) return 0;
  return limits_[found->second].level_at(now_ns);
}

}  // namespace weir::lease
