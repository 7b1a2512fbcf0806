#include "lease/permit_desk.h"

#include <algorithm>

namespace weir::lease {

namespace {

constexpr TimeNs kHungryAgainNs = 200 * kMs;  // who was refused says so again

}  // namespace

void PermitDesk::restore(const PermitDeskState& state) {
  if (state.ttl_ns > 0) ttl_ns_ = state.ttl_ns;
  for (const PermitDeskState::Held& held : state.held)
    restored_[held.name] = held;
}

PermitDeskState PermitDesk::state() const {
  PermitDeskState state;
  state.ttl_ns = ttl_ns_;
  // Until a lower cap is in force the higher one is, and so long as some process goes by the rules
  // of an agent before this one, that one's.
  for (const auto& [name, row] : rows_) {
    const Permits cap = row.dirty ? std::max(row.cap, row.in_force) : row.cap;
    state.held.push_back({name, std::max(cap, row.inherited), row.end_ns, row.hosts});
  }
  return state;
}

void PermitDesk::set_resources(const std::vector<PermitResource>& resources, TimeNs now_ns) {
  Rows next;
  for (const PermitResource& resource : resources) {
    Row row;
    if (const auto kept = rows_.find(resource.name); kept != rows_.end()) {
      row = std::move(kept->second);
    } else {
      row.dirty = true;
      if (const auto old = restored_.find(resource.name); old != restored_.end()) {
        row.cap = row.inherited = std::clamp<Permits>(old->second.cap, 0, kPermitsOfHostMax);
        row.end_ns = old->second.end_ns;
        row.hosts = old->second.hosts;
        row.leased = row.end_ns > now_ns;
      } else if (unknown_before_) {
        row.inherited = std::clamp<Permits>(resource.max, 0, kPermitsOfHostMax);
      }
    }
    row.rule = resource;
    next.emplace(resource.name, std::move(row));
  }
  rows_ = std::move(next);
  restored_.clear();
  unknown_before_ = false;
  tick(now_ns);
}

void PermitDesk::opened(SessionId session, bool speaks, TimeNs now_ns) {
  session_ = session;
  speaks_ = speaks;
  seq_ = 0;
  sent_ = {};
  reported_ns_ = 0;
  for (auto& [name, row] : rows_) {
    row.taken = row.confirmed = row.first_seq = 0;
    row.unknown = !speaks;
  }
  tick(now_ns);
}

void PermitDesk::closed(TimeNs now_ns) {
  session_ = 0;
  for (auto& [name, row] : rows_)
    row.unknown = false;
  tick(now_ns);
}

// ------------------------------------------------------------------ what is granted

TimeNs PermitDesk::sent_at(std::uint64_t seq) const {
  const Sent& sent = sent_[seq % sent_.size()];
  return seq != 0 && sent.seq == seq ? sent.at_ns : 0;
}

void PermitDesk::on_grants(const PermitGrants& grants, TimeNs now_ns) {
  if (session_ == 0 || grants.session != session_ || left_) return;
  TimeNs sent_ns = sent_at(grants.seq);
  const bool answer = sent_ns != 0;
  if (options_.mutants.from_receipt && answer) sent_ns = now_ns;
  if (options_.mutants.pushes_lengthen && !answer) sent_ns = now_ns;
  const TimeNs ttl_ns = std::clamp<TimeNs>(grants.ttl_ns, 0, 3600 * kSecond);
  const TimeNs end_ns = sent_ns == 0 ? 0 : sent_ns + shortened(ttl_ns);
  // So late that nothing of it holds any more: what it grants is still kept for this host.
  if (sent_ns != 0 && end_ns <= now_ns) return;
  if (answer) ttl_ns_ = ttl_ns;
  for (const PermitGrantRow& grant : grants.rows) {
    const auto row = rows_.find(grant.name);
    if (row != rows_.end()) take(row->second, grant, end_ns, answer, now_ns);
  }
  if (!answer) return;
  for (auto& [name, row] : rows_) {
    if (row.first_seq == 0 || row.first_seq > grants.seq) continue;
    row.unknown = std::none_of(
        grants.rows.begin(), grants.rows.end(),
        [&row_name = name](const PermitGrantRow& grant) { return grant.name == row_name; });
    if (row.unknown) judge(row, now_ns);
  }
}

void PermitDesk::take(Row& row, const PermitGrantRow& grant, TimeNs end_ns, bool answer,
                      TimeNs now_ns) {
  // What was asked for only shows that the server is there; without a lease that lasts it says
  // nothing, and stays reserved for this host.
  const TimeNs until_ns = std::max(end_ns, row.leased ? row.end_ns : 0);
  if (until_ns <= now_ns) return;
  const bool newer = grant.number > row.taken || options_.mutants.old_numbers;
  // A host in fallback has said, or will say, that it goes by another cap than that.
  if (!newer && !row.leased) return;
  row.end_ns = until_ns;
  if (answer) row.hosts = grant.hosts;
  if (!newer) return;
  row.taken = grant.number;
  row.leased = true;
  row.fallback = false;
  set_cap(row, std::clamp<Permits>(grant.cap, 0, kPermitsOfHostMax));
  row.dirty = true;  // even the same cap has to be confirmed by its number
  if (options_.mutants.confirm_unapplied) row.confirmed = row.taken;
}

void PermitDesk::set_cap(Row& row, Permits cap) {
  if (cap == row.cap) return;
  row.cap = cap;
  row.dirty = true;
}

// ------------------------------------------------------------------ what has ended

// From then on no host has a lease of a server that died when it was heard last.
TimeNs PermitDesk::fallback_from_ns() const {
  const TimeNs patience_ns = options_.started_ns + options_.patience_ns;
  if (heard_ns_ == 0) return patience_ns;
  return std::max(heard_ns_ + lengthened(ttl_ns_), patience_ns);
}

Permits PermitDesk::fallback_cap(const Row& row) const {
  if (row.rule.fallback == PermitFallback::closed) return 0;
  if (row.rule.fallback == PermitFallback::open) return row.rule.max;
  return std::max<Permits>(1, row.rule.max / std::max<Permits>(1, row.hosts));
}

void PermitDesk::judge(Row& row, TimeNs now_ns) {
  if (row.unknown) row.leased = false;
  if (row.leased && now_ns < row.end_ns) return;
  row.leased = false;
  row.confirmed = 0;  // by which the server learns that it goes by no grant of its own
  const bool due = row.unknown || now_ns >= std::max(row.end_ns, fallback_from_ns());
  row.fallback = row.fallback || due;
  const Permits cap = fallback_cap(row);
  // Others may have leases for a moment longer, and then nobody has more than its part.
  set_cap(row, row.fallback ? cap : std::min(row.cap, cap));
}

void PermitDesk::tick(TimeNs now_ns) {
  if (left_) return;
  for (auto& [name, row] : rows_)
    judge(row, now_ns);
}

std::vector<PermitDesk::Change> PermitDesk::changes() const {
  std::vector<Change> changes;
  for (const auto& [name, row] : rows_)
    if (row.dirty) changes.push_back({name, row.in_force, row.cap});
  return changes;
}

void PermitDesk::applied(std::string_view name, Permits in_flight) {
  const auto found = rows_.find(name);
  if (found == rows_.end()) return;
  Row& row = found->second;
  row.in_force = row.cap;
  row.dirty = false;
  observe(name, in_flight, 0);
  if (!hold_) row.confirmed = row.leased ? row.taken : 0;
}

// ------------------------------------------------------------------ what is said

void PermitDesk::observe(std::string_view name, Permits in_flight, Permits refused) {
  const auto found = rows_.find(name);
  if (found == rows_.end()) return;
  Row& row = found->second;
  row.in_flight = std::clamp<Permits>(in_flight, 0, kPermitsOfHostMax);
  row.peak[0] = std::max(row.peak[0], row.in_flight);
  row.refused[0] = std::clamp<Permits>(row.refused[0] + refused, 0, kPermitsOfHostMax);
}

Permits PermitDesk::want_of(const Row& row) const {
  const Permits want = std::max(row.peak[0] + row.refused[0], row.peak[1] + row.refused[1]);
  return std::min(want, kPermitsOfHostMax);
}

bool PermitDesk::urgent(const Row& row, TimeNs now_ns) const {
  if (row.first_seq == 0 || row.said.number != row.confirmed) return true;
  if (row.said.cap != std::max(row.in_force, hold_ ? row.inherited : 0)) return true;
  // Permits that came back from holders of before are somebody's.
  if (row.said.in_flight > row.said.cap && row.in_flight < row.said.in_flight) return true;
  if (want_of(row) <= row.cap) return false;
  return row.said.want <= row.said.cap || now_ns - reported_ns_ >= kHungryAgainNs;
}

const PermitReport* PermitDesk::next_report(TimeNs now_ns) {
  if (session_ == 0 || !speaks_ || left_) return nullptr;
  if (!hold_)
    for (auto& [name, row] : rows_) {
      row.inherited = 0;
      if (!row.dirty) row.confirmed = row.leased ? row.taken : 0;
    }
  // The first one says that there is nothing to learn of this host, if there is not.
  if (seq_ != 0) {
    const TimeNs age_ns = now_ns - reported_ns_;
    if (rows_.empty() || age_ns < kPermitReportMinNs) return nullptr;
    const bool now = age_ns >= kPermitReportNs ||
                     std::any_of(rows_.begin(), rows_.end(),
                                 [&](const auto& each) { return urgent(each.second, now_ns); });
    if (!now) return nullptr;
  }
  return &compose(now_ns, false);
}

const PermitReport& PermitDesk::compose(TimeNs now_ns, bool leaving) {
  report_.session = session_;
  report_.seq = ++seq_;
  report_.leaving = leaving;
  report_.rows.clear();
  sent_[seq_ % sent_.size()] = {seq_, now_ns};
  reported_ns_ = now_ns;
  const bool whole = now_ns - remembered_ns_ >= kPermitReportNs;
  if (whole) remembered_ns_ = now_ns;
  for (auto& [name, row] : rows_) {
    if (row.first_seq == 0) row.first_seq = seq_;
    Permits in_force = row.dirty ? std::max(row.cap, row.in_force) : row.in_force;
    if (options_.mutants.confirm_unapplied) in_force = row.cap;
    row.said = {name, row.confirmed, std::max(in_force, hold_ ? row.inherited : 0), row.in_flight,
                want_of(row)};
    report_.rows.push_back(row.said);
    // A demand is remembered for a second or two, however often reports leave.
    if (!whole) continue;
    row.peak = {row.in_flight, row.peak[0]};
    row.refused = {0, row.refused[0]};
  }
  return report_;
}

TimeNs PermitDesk::next_deadline(TimeNs now_ns) const {
  TimeNs at_ns = kNever;
  for (const auto& [name, row] : rows_) {
    if (row.leased)
      at_ns = std::min(at_ns, row.end_ns);
    else if (!row.fallback)
      at_ns = std::min(at_ns, std::max({row.end_ns, fallback_from_ns(), now_ns + kMs}));
  }
  if (session_ != 0 && speaks_ && !left_ && (seq_ == 0 || !rows_.empty()))
    at_ns = std::min(at_ns, seq_ == 0 ? now_ns : reported_ns_ + kPermitReportNs);
  return at_ns;
}

void PermitDesk::leave(TimeNs now_ns) {
  (void)now_ns;
  left_ = true;
  for (auto& [name, row] : rows_) {
    row.leased = row.fallback = false;
    set_cap(row, 0);
  }
}

std::optional<PermitReport> PermitDesk::last_report(TimeNs now_ns) {
  if (session_ == 0 || !speaks_) return std::nullopt;
  return compose(now_ns, true);
}

std::optional<PermitView> PermitDesk::view(std::string_view name, TimeNs now_ns) const {
  const auto found = rows_.find(name);
  if (found == rows_.end()) return std::nullopt;
  const Row& row = found->second;
  return PermitView{.cap = row.cap,
                    .in_flight = row.in_flight,
                    .want = want_of(row),
                    .hosts = row.hosts,
                    .leased = row.leased && now_ns < row.end_ns,
                    .fallback = row.fallback,
                    .end_ns = row.end_ns};
}

}  // namespace weir::lease
