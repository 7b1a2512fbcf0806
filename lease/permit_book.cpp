#include "lease/permit_book.h"

#include <algorithm>

namespace weir::lease {

namespace {

constexpr TimeNs kTargetMinNs = 50 * kMs;      // between two divisions of one resource
constexpr TimeNs kTargetSlowNs = 5 * kSecond;  // where nobody is short of anything
constexpr TimeNs kTurnNs = kSecond;

Permits sane(Permits value) noexcept { return std::clamp<Permits>(value, 0, kPermitsOfHostMax); }

}  // namespace

PermitBook::PermitBook(PermitBookOptions options, TimeNs now_ns) : options_(options) {
  (void)now_ns;
}

void PermitBook::set_rules(const std::vector<PermitRule>& rules, TimeNs now_ns) {
  std::map<std::string, Resource, std::less<>> next;
  for (const PermitRule& rule : rules) {
    const auto kept = resources_.find(rule.name);
    Resource resource;
    if (kept != resources_.end())
      resource = kept->second;
    else
      resource.since_ns = now_ns;
    resource.unfair = resource.unfair || resource.max != rule.max;
    resource.max = rule.max;
    next.emplace(rule.name, resource);
  }
  resources_ = std::move(next);
  for (auto& [identity, host] : hosts_)
    std::erase_if(host.rows, [&](const auto& row) { return !resources_.contains(row.first); });
}

void PermitBook::set_learning(bool learning, TimeNs now_ns) {
  // Another server had the namespace meanwhile: what is known here is old.
  if (learning && !learning_)
    for (auto& [name, resource] : resources_) {
      resource.learning = true;
      resource.since_ns = now_ns;
    }
  learning_ = learning;
}

// ------------------------------------------------------------------ hosts

void PermitBook::join(const Identity& identity, SessionId session, bool speaks, TimeNs now_ns) {
  if (hosts_.size() >= options_.hosts_max && !hosts_.contains(identity)) return;
  Host& host = hosts_[identity];
  host.session = session;
  host.seq = 0;
  host.connected = true;
  host.speaks = speaks;
  host.lease_end_ns = std::max(host.lease_end_ns, now_ns + lengthened(options_.ttl_ns));
  // No grant of an earlier session is taken any more; which of them were, its report will say.
  for (auto& [name, row] : host.rows) {
    row.number = 0;
    row.reported = row.push = false;
  }
}

void PermitBook::leave(const Identity& identity, SessionId session, TimeNs now_ns) {
  const auto found = hosts_.find(identity);
  if (found == hosts_.end() || found->second.session != session) return;
  found->second.connected = false;
  bool holds = false;
  for (auto& [name, row] : found->second.rows) {
    resources_.find(name)->second.unfair = true;
    holds = holds || row.bound != 0;
  }
  // One that has said nothing yet may hold something, unless it knows nothing of permits.
  if (!holds && (found->second.reported_ns >= 0 || !found->second.speaks)) drop(found);
  (void)now_ns;
}

void PermitBook::drop(std::map<Identity, Host>::iterator host) {
  for (auto& [name, row] : host->second.rows) {
    Resource& resource = resources_.find(name)->second;
    set_bound(resource, row, 0);
    --resource.hosts;
    resource.unfair = true;
  }
  hosts_.erase(host);
}

// Who has a lease and a connection. One that is silent for longer keeps its bound and gets no more.
bool PermitBook::lives(const Host& host, TimeNs now_ns) const noexcept {
  return host.connected && now_ns < host.lease_end_ns;
}

void PermitBook::set_bound(Resource& resource, Row& row, Permits bound) noexcept {
  resource.bounds += bound - row.bound;
  row.bound = bound;
}

bool PermitBook::report(const Identity& identity, const PermitReport& report, TimeNs now_ns,
                        PermitGrants& answer) {
  const auto found = hosts_.find(identity);
  if (found == hosts_.end()) return false;
  Host& host = found->second;
  if (!host.connected || report.session != host.session || report.seq <= host.seq) return false;
  const bool first = host.seq == 0;
  host.seq = report.seq;
  host.reported_ns = now_ns;
  host.lease_end_ns = now_ns + lengthened(options_.ttl_ns);
  for (const PermitRow& said : report.rows) {
    const auto resource = resources_.find(said.name);
    if (resource == resources_.end()) continue;
    const auto [row, fresh] = host.rows.try_emplace(said.name);
    if (fresh) ++resource->second.hosts;
    resource->second.unfair = resource->second.unfair || first || fresh || report.leaving;
    row->second.seq = report.seq;
    row->second.named_ns = now_ns;
    take_row(resource->second, row->second, said, report.leaving);
  }
  // What the host does not name any more it took out of its rules. What it let in may still run.
  for (auto& [name, row] : host.rows)
    if (row.seq != report.seq) row.reported = false;
  answer = {report.session, report.seq, options_.ttl_ns, {}};
  for (const PermitRow& said : report.rows) {
    const auto resource = resources_.find(said.name);
    if (resource == resources_.end()) continue;
    advance(resource->first, resource->second, now_ns);
    Row& row = host.rows.find(said.name)->second;
    row.push = false;
    answer.rows.push_back({said.name, row.number, row.cap, resource->second.hosts});
  }
  return true;
}

void PermitBook::take_row(Resource& resource, Row& row, const PermitRow& said, bool leaving) {
  const Permits cap = sane(said.cap);
  const Permits in_flight = sane(said.in_flight);
  const Permits held = std::max(cap, in_flight);
  const bool first = !row.reported && row.number == 0;
  const bool newest = said.number == row.number || leaving || options_.mutants.any_confirms;
  // By its word; what it went by before, a fallback perhaps, is over with the first grant.
  if (first || leaving) row.cap = row.target = cap;
  // A grant that is still on its way may be in force when this is read. More than was given is the
  // truth all the same.
  set_bound(resource, row, std::max(newest ? row.cap : row.bound, held));
  // No grant is in force there: what it may have has to be told by a number that it does not know.
  if (first || said.number == 0) ++row.number;
  row.in_flight = in_flight;
  row.want = leaving ? 0 : std::clamp<Permits>(said.want, 0, std::max(resource.max, Permits{1}));
  row.reported = !leaving;
  if (first || leaving || row.want > row.cap) resource.unfair = true;
}

// ------------------------------------------------------------------ dividing

bool PermitBook::has_learned(const Resource& resource, TimeNs now_ns) const {
  if (options_.mutants.no_learning) return true;
  if (learning_) return false;
  if (now_ns >= resource.since_ns + lengthened(options_.ttl_ns)) return true;
  return std::all_of(hosts_.begin(), hosts_.end(), [&](const auto& each) {
    return !each.second.speaks || each.second.reported_ns >= resource.since_ns;
  });
}

// Everything that is due for one resource.
void PermitBook::advance(const std::string& name, Resource& resource, TimeNs now_ns) {
  if (resource.learning && has_learned(resource, now_ns)) {
    resource.learning = false;
    resource.unfair = true;
  }
  if (resource.learning) return;
  const TimeNs age_ns = now_ns - resource.targeted_ns;
  const bool slow = age_ns >= kTargetSlowNs;
  const bool turn = resource.turns && age_ns >= kTurnNs;
  const bool target = slow || turn || (resource.unfair && age_ns >= kTargetMinNs);
  if (!target && !(resource.pending && resource.bounds < resource.max)) return;
  collect(name, now_ns);
  if (target) {
    find_targets(resource, now_ns);
    resource.targeted_ns = now_ns;
    resource.unfair = false;
  }
  settle(resource, now_ns);
}

void PermitBook::collect(const std::string& name, TimeNs now_ns) {
  parts_.clear();
  for (auto& [identity, host] : hosts_) {
    if (!lives(host, now_ns)) continue;
    const auto row = host.rows.find(name);
    if (row != host.rows.end() && row->second.reported)
      parts_.push_back({&row->second, row->second.want, parts_.size()});
  }
}

// Max-min: nobody gets more than it wants while another wants more.
void PermitBook::find_targets(Resource& resource, TimeNs now_ns) {
  resource.turns = false;
  if (parts_.empty()) return;
  Permits there = resource.max - resource.bounds;  // and what those at hand have
  Permits wanted = 0;
  for (const Part& part : parts_) {
    there += part.row->bound;
    wanted += part.want;
  }
  there = std::max<Permits>(there, 0);
  if (wanted > there) return divide_scarce(resource, there, now_ns);
  // The spare is spread, so that who begins need not ask first. What is over after that stays with
  // those who have most already: it is not worth a message.
  const auto count = static_cast<Permits>(parts_.size());
  const Permits each = (there - wanted) / count;
  Permits over = (there - wanted) % count;
  std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) {
    const Permits more_a = a.row->cap - a.want, more_b = b.row->cap - b.want;
    return more_a != more_b ? more_a > more_b : a.order < b.order;
  });
  std::vector<Permits> before;
  for (Part& part : parts_) {
    before.push_back(part.row->target);
    part.row->target = part.want + each + (over > 0 ? 1 : 0);
    over -= over > 0 ? 1 : 0;
  }
  if (worth_it(there)) return;
  for (std::size_t i = 0; i < parts_.size(); ++i)
    parts_[i].row->target = std::min(before[i], there);
}

// Where everybody has what it wants, caps follow the demand only when they are far off.
bool PermitBook::worth_it(Permits there) const {
  Permits caps = 0;
  for (const Part& part : parts_) {
    const Permits off = part.row->target - part.row->cap;
    if (part.want > part.row->cap || (part.row->cap == 0 && off > 0)) return true;
    if (std::abs(off) > std::max<Permits>(2, part.row->target / 4)) return true;
    caps += part.row->cap;
  }
  return caps > there;
}

void PermitBook::divide_scarce(Resource& resource, Permits there, TimeNs now_ns) {
  std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) {
    return a.want != b.want ? a.want < b.want : a.order < b.order;
  });
  std::size_t at = 0;
  Permits left = there;
  for (; at < parts_.size(); ++at) {
    const auto rest = static_cast<Permits>(parts_.size() - at);
    if (parts_[at].want > left / rest) break;
    parts_[at].row->target = parts_[at].want;
    left -= parts_[at].want;
  }
  const auto rest = static_cast<Permits>(parts_.size() - at);
  if (rest == 0) return;
  const Permits level = left / rest;
  Permits over = left % rest;
  resource.turns = level == 0 && !options_.mutants.no_turns;
  const auto hungry = parts_.begin() + static_cast<std::ptrdiff_t>(at);
  std::sort(hungry, parts_.end(), [&](const Part& a, const Part& b) {
    if (!resource.turns)
      return a.row->cap != b.row->cap ? a.row->cap > b.row->cap : a.order < b.order;
    // Whose turn lasts goes on, and then comes who has waited longest.
    const auto on = [&](const Row& row) { return row.cap > 0 && now_ns - row.turn_ns < kTurnNs; };
    if (on(*a.row) != on(*b.row)) return on(*a.row);
    const TimeNs since_a = a.row->cap > 0 ? now_ns : a.row->served_ns;
    const TimeNs since_b = b.row->cap > 0 ? now_ns : b.row->served_ns;
    return since_a != since_b ? since_a < since_b : a.order < b.order;
  });
  for (auto part = hungry; part != parts_.end(); ++part) {
    part->row->target = level + (over > 0 ? 1 : 0);
    over -= over > 0 ? 1 : 0;
  }
}

void PermitBook::send(Row& row, Permits cap, TimeNs now_ns) {
  if (row.cap == 0 && cap > 0) row.turn_ns = now_ns;
  if (row.cap > 0 && cap == 0) row.served_ns = now_ns;
  row.cap = cap;
  ++row.number;
  row.push = true;
  pushes_due_ = true;
}

// Sends what brings the hosts nearer to their targets and is safe now.
void PermitBook::settle(Resource& resource, TimeNs now_ns) {
  for (const Part& part : parts_) {
    Row& row = *part.row;
    if (row.target >= row.cap) continue;
    if (options_.mutants.free_on_lowering) set_bound(resource, row, row.target);
    send(row, row.target, now_ns);
  }
  std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) {
    return a.row->cap != b.row->cap ? a.row->cap < b.row->cap : a.order < b.order;
  });
  for (const Part& part : parts_) {
    Row& row = *part.row;
    if (row.target <= row.cap) continue;
    const Permits free = std::max<Permits>(0, resource.max - resource.bounds);
    const Permits cap = std::min(row.target, std::max(row.bound, row.cap) + free);
    if (cap <= row.cap) continue;
    set_bound(resource, row, std::max(row.bound, cap));
    send(row, cap, now_ns);
  }
  resource.pending = std::any_of(parts_.begin(), parts_.end(),
                                 [](const Part& part) { return part.row->target > part.row->cap; });
}

// The host lives and does not have these resources any more.
void PermitBook::forget_unnamed(Host& host, TimeNs now_ns) {
  std::erase_if(host.rows, [&](const auto& each) {
    const Row& row = each.second;
    if (row.reported || row.seq == host.seq || now_ns < row.named_ns + options_.forget_ns)
      return false;
    Resource& resource = resources_.find(each.first)->second;
    resource.bounds -= row.bound;
    --resource.hosts;
    resource.unfair = true;
    return true;
  });
}

// ------------------------------------------------------------------ time and people

void PermitBook::poll(TimeNs now_ns) {
  for (auto host = hosts_.begin(); host != hosts_.end();) {
    const auto next = std::next(host);
    const bool lost = now_ns >= host->second.lease_end_ns + options_.forget_ns;
    if (lost && !host->second.connected)
      drop(host);
    else if (host->second.connected)
      forget_unnamed(host->second, now_ns);
    host = next;
  }
  for (auto& [name, resource] : resources_)
    advance(name, resource, now_ns);
}

void PermitBook::take_pushes(std::vector<PermitGrants>& pushes) {
  pushes.clear();
  if (!pushes_due_) return;
  pushes_due_ = false;
  for (auto& [identity, host] : hosts_) {
    PermitGrants grants{host.session, 0, options_.ttl_ns, {}};
    for (auto& [name, row] : host.rows) {
      if (row.push && host.connected)
        grants.rows.push_back({name, row.number, row.cap, resources_.find(name)->second.hosts});
      row.push = false;
    }
    if (!grants.rows.empty()) pushes.push_back(std::move(grants));
  }
}

Permits PermitBook::bounds_of(std::string_view name) const {
  const auto found = resources_.find(name);
  return found == resources_.end() ? 0 : found->second.bounds;
}

std::vector<PermitStatus> PermitBook::status() const {
  std::vector<PermitStatus> all;
  for (const auto& [name, resource] : resources_) {
    PermitStatus status{.name = name, .max = resource.max, .bound = resource.bounds};
    status.learning = resource.learning;
    for (const auto& [identity, host] : hosts_) {
      if (host.connected && host.speaks && host.reported_ns < resource.since_ns) ++status.awaited;
      const auto row = host.rows.find(name);
      if (row == host.rows.end()) continue;
      status.in_flight += row->second.in_flight;
      status.wanted += row->second.want;
      ++(host.connected ? status.hosts : status.lost_hosts);
    }
    all.push_back(std::move(status));
  }
  return all;
}

std::vector<PermitHostStatus> PermitBook::hosts_of(std::string_view name) const {
  std::vector<PermitHostStatus> all;
  for (const auto& [identity, host] : hosts_) {
    const auto found = host.rows.find(name);
    if (found == host.rows.end()) continue;
    const Row& row = found->second;
    all.push_back({identity.host, host.connected, row.reported, row.cap, row.bound, row.in_flight,
                   row.want, row.named_ns});
  }
  return all;
}

}  // namespace weir::lease
