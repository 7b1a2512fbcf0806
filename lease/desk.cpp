// Sessions and messages of a host: hello, answers, and what they put in force.
#include "lease/desk.h"

#include <algorithm>

namespace weir::lease {

Desk::Desk(DeskOptions options)
    : options_(std::move(options)), random_(options_.seed), refresh_ns_(options_.refresh_ns) {
  if (options_.agent_epoch == 0) options_.agent_epoch = random_.next() | 1;
}

Desk::Row* Desk::row_of(LimitId id) {
  const auto found = index_.find(id);
  return found == index_.end() ? nullptr : &rows_[found->second];
}

void Desk::add_limit(std::uint32_t slot, const std::string& name, TimeNs now_ns) {
  if (slot >= rows_.size()) rows_.resize(slot + 1);
  Row& row = rows_[slot];
  row = Row{};
  row.name = name;
  row.id = limit_id(name);
  row.active = true;
  row.since_ns = now_ns;
  index_[row.id] = slot;
  slots_.push_back(slot);
  const auto kept = std::find_if(restored_.begin(), restored_.end(),
                                 [&](const DeskState::Held& held) { return held.name == name; });
  if (kept != restored_.end()) {
    row.terms = kept->terms;
    row.granted = kept->granted == Terms{} ? kept->terms : kept->granted;
    row.proof = kept->proof;
    row.end_ns = kept->end_ns;
    row.tail_end_ns = kept->tail_end_ns;
    row.hosts = kept->hosts;
    row.granted_ever = true;
    row.state = row.terms.rate > 0 || row.terms.burst > 0 ? LeaseState::live : LeaseState::tail;
    earliest_end_ns_ = std::min(earliest_end_ns_, row.end_ns);
    restored_.erase(kept);
  }
  change(slot);
  withdraw(now_ns);
}

void Desk::remove_limit(std::uint32_t slot, TimeNs now_ns) {
  if (slot >= rows_.size() || !rows_[slot].active) return;
  (void)now_ns;
  // The server lets go of it as well when the rule is gone there; until then it counts.
  index_.erase(rows_[slot].id);
  std::erase(slots_, slot);
  rows_[slot] = Row{};
}

void Desk::change(std::uint32_t slot) {
  Row& row = rows_[slot];
  if (row.changed) return;
  row.changed = true;
  changes_.push_back({slot, 0, false});
}

const std::vector<Change>& Desk::take_changes() {
  told_changes_.clear();
  std::swap(told_changes_, changes_);
  for (const Change& one : told_changes_)
    if (one.slot < rows_.size()) rows_[one.slot].changed = false;
  return told_changes_;
}

Micro Desk::mintable(Micro rate) const noexcept {
  return mutants.full_rate ? rate : rate - mul_div(rate, kDriftPpm, 1'000'000);
}

LeaseView Desk::view(std::uint32_t slot) const {
  LeaseView view;
  if (slot >= rows_.size()) return view;
  const Row& row = rows_[slot];
  view.state = row.state;
  view.end_ns = row.end_ns;
  view.tail_end_ns = row.tail_end_ns;
  view.since_ns = row.since_ns;
  view.hosts = row.hosts;
  view.want = row.want;
  view.granted_ever = row.granted_ever;
  if (row.runaway) return view;
  if (row.state == LeaseState::live) {
    view.rate = mintable(row.terms.rate);
    view.burst = row.terms.burst;
  }
  if (row.state == LeaseState::live || row.state == LeaseState::tail) {
    view.tail_rate = mintable(row.terms.tail_rate);
    view.tail_burst = row.terms.tail_burst;
  }
  return view;
}

void Desk::end_lease(std::uint32_t slot, TimeNs now_ns) {
  Row& row = rows_[slot];
  if (row.state == LeaseState::live) {
    row.state = LeaseState::tail;
    row.terms.rate = row.terms.burst = 0;
    row.fill_left = 0;
    ++counts_.withdrawn_total;
  }
  if (row.state == LeaseState::tail &&
      (row.terms.tail_rate == 0 || (now_ns >= row.tail_end_ns && !mutants.tail_for_ever))) {
    row.state = LeaseState::ended;
    row.terms = Terms{};
  }
  row.since_ns = now_ns;
  row.must_tell = true;
  row.draining = false;
  change(slot);
}

void Desk::withdraw(TimeNs now_ns) {
  if (now_ns < earliest_end_ns_) return;
  earliest_end_ns_ = kNever;
  for (const std::uint32_t slot : slots_) {
    Row& row = rows_[slot];
    if (row.state == LeaseState::live && now_ns >= row.end_ns) end_lease(slot, now_ns);
    if (row.state == LeaseState::tail && now_ns >= row.tail_end_ns) end_lease(slot, now_ns);
    if (row.state == LeaseState::live) earliest_end_ns_ = std::min(earliest_end_ns_, row.end_ns);
    if (row.state == LeaseState::tail)
      earliest_end_ns_ = std::min(earliest_end_ns_, row.tail_end_ns);
  }
}

void Desk::drop_all(TimeNs now_ns) {
  for (const std::uint32_t slot : slots_) {
    Row& row = rows_[slot];
    if (row.state != LeaseState::live && row.state != LeaseState::tail) continue;
    row.terms = Terms{};
    row.state = LeaseState::ended;
    row.fill_left = row.returned = 0;
    row.draining = false;
    row.since_ns = now_ns;
    row.must_tell = true;
    change(slot);
  }
}

void Desk::new_identity(TimeNs now_ns) {
  if (!mutants.keep_leases) drop_all(now_ns);
  options_.agent_epoch = random_.next() | 1;
  ++counts_.identities_total;
  hello_no_ = 0;
  session_ = prev_session_ = 0;
  accepted_seq_ = seq_ = 0;
  for (const std::uint32_t slot : slots_) {
    Row& row = rows_[slot];
    row.spent_base = row.usage.spent_total;
    row.refused_base = row.usage.refused_total;
    row.told = Told{};
    row.must_tell = true;
  }
}

Hello Desk::connected(TimeNs now_ns) {
  hello_gap_ns_ = options_.hello_retry_ns;
  return greet(now_ns);
}

Hello Desk::greet(TimeNs now_ns) {
  if (!mutants.talk_first) withdraw(now_ns);
  if (session_ != 0) prev_session_ = session_;
  session_ = 0;
  in_flight_ = false;
  hello_ = Hello{};
  hello_.host = options_.host;
  hello_.agent_epoch = options_.agent_epoch;
  hello_.hello_no = ++hello_no_;
  hello_.prev_session = prev_session_;
  hello_.epoch_seen = epoch_seen_;
  hello_.accepted_seq = accepted_seq_;
  for (const std::uint32_t slot : slots_) {
    const Row& row = rows_[slot];
    if (row.state == LeaseState::live || row.state == LeaseState::tail)
      hello_.claims.push_back({row.id, row.terms, row.proof, row.granted});
  }
  greeting_ = true;
  hello_sent_ns_ = now_ns;
  return hello_;
}

void Desk::disconnected(TimeNs now_ns) {
  (void)now_ns;
  if (session_ != 0) prev_session_ = session_;
  session_ = 0;
  in_flight_ = false;
  greeting_ = false;
}

std::optional<Hello> Desk::next_hello(TimeNs now_ns) {
  if (!greeting_ || now_ns - hello_sent_ns_ < hello_gap_ns_) return std::nullopt;
  // Each hello makes the answer to the one before it void: a far server needs ever longer gaps.
  hello_gap_ns_ = std::min(2 * hello_gap_ns_, options_.hello_retry_most_ns);
  return greet(now_ns);
}

Desk::Reply Desk::on_welcome(const Welcome& welcome, TimeNs now_ns) {
  withdraw(now_ns);
  if (!greeting_ || welcome.hello_no != hello_no_) return Reply::ignored;
  if (welcome.epoch < epoch_seen_ && !mutants.accept_lower_epoch) return Reply::wrong_server;
  epoch_seen_ = std::max(epoch_seen_, welcome.epoch);
  greeting_ = false;
  if (welcome.new_identity) {
    new_identity(now_ns);
    return Reply::hello_again;
  }
  for (const LimitId id : welcome.withdraw)
    if (Row* row = row_of(id); row != nullptr && !mutants.ignore_withdrawn) {
      row->terms = Terms{};
      row->state = LeaseState::ended;
      row->since_ns = now_ns;
      row->fill_left = row->returned = 0;
      row->draining = false;
      change(index_.at(id));
    }
  session_ = welcome.session;
  seq_ = accepted_seq_ = 0;
  server_ns_ = 0;
  for (const std::uint32_t slot : slots_) {
    Row& row = rows_[slot];
    row.told = Told{};
    row.must_tell = true;
    row.returned = 0;
    // What may be minted is counted anew, from what is held.
    row.credit = row.terms.burst + minted(row.terms.rate, lengthened(row.end_ns - now_ns));
    row.minted_base = row.usage.minted_total;
  }
  next_refresh_ns_ = now_ns;
  return Reply::ok;
}

std::optional<Ack> Desk::on_answer(const Answer& answer, TimeNs now_ns) {
  withdraw(now_ns);
  const bool awaited =
      in_flight_ && answer.session == session_ && session_ != 0 && answer.seq == seq_;
  if (!awaited && !(mutants.any_answer && answer.seq != 0)) {
    ++counts_.ignored_total;
    return std::nullopt;
  }
  const TimeNs start_ns = mutants.end_from_answer ? now_ns : first_sent_ns_;
  const TimeNs end_ns =
      start_ns + (mutants.no_shortening ? answer.ttl_ns : shortened(answer.ttl_ns));
  in_flight_ = false;
  refresh_ns_ = std::clamp<TimeNs>(answer.refresh_ns, kMs, std::max(kMs, answer.ttl_ns / 3));
  next_refresh_ns_ = first_sent_ns_ + jittered(refresh_ns_);
  if (end_ns <= now_ns && !mutants.late_answers) {
    ++counts_.ignored_total;
    return std::nullopt;
  }
  accepted_seq_ = answer.seq;
  tail_ns_ = answer.tail_ns;
  ttl_ns_ = answer.ttl_ns;
  counts_.round_trip_ns = now_ns - last_sent_ns_;
  ++(answer.busy ? counts_.busy_total : counts_.answers_total);
  const TimeNs passed_ns = std::max<TimeNs>(0, answer.server_ns - server_ns_);
  server_ns_ = std::max(server_ns_, answer.server_ns);
  const TimeNs tail_end_ns = end_ns + shortened(tail_ns_);
  end_ns_ = end_ns;
  for (const std::uint32_t slot : slots_) {
    Row& row = rows_[slot];
    row.credit += minted(row.terms.rate, passed_ns);
    row.runaway = false;
    if (row.state != LeaseState::live) continue;
    row.end_ns = end_ns;
    row.tail_end_ns = tail_end_ns;
    earliest_end_ns_ = std::min(earliest_end_ns_, end_ns);
    longer_ = true;
    if (options_.tell_longer) change(slot);
  }
  // Servers name limits in the order in which they were told of them, which is mostly ours.
  std::size_t cursor = 0;
  for (const Grant& grant : answer.grants) {
    while (cursor < slots_.size() && rows_[slots_[cursor]].id != grant.limit)
      ++cursor;
    if (cursor < slots_.size()) {
      take_grant(slots_[cursor++], grant, end_ns, now_ns);
      continue;
    }
    const auto found = index_.find(grant.limit);
    if (found != index_.end()) take_grant(found->second, grant, end_ns, now_ns);
  }
  return Ack{session_, answer.seq};
}

void Desk::take_grant(std::uint32_t slot, const Grant& grant, TimeNs end_ns, TimeNs now_ns) {
  Row& row = rows_[slot];
  if (row.terms != grant.terms || row.state != LeaseState::live) row.since_ns = now_ns;
  if (row.state != LeaseState::live) {
    // What was minted in a tail or in fallback is no part of this lease.
    row.credit = 0;
    row.minted_base = row.usage.minted_total;
  } else if (grant.terms.rate < row.terms.rate) {
    // The old rate was minted until this came.
    row.credit += minted(row.terms.rate - grant.terms.rate, now_ns - first_sent_ns_);
  }
  row.terms = row.granted = grant.terms;
  row.proof = grant.proof;
  row.hosts = grant.hosts;
  row.end_ns = end_ns;
  row.tail_end_ns = end_ns + shortened(tail_ns_);
  row.state = LeaseState::live;
  row.granted_ever = true;
  row.draining = false;
  row.must_tell = false;
  row.told.keep_rate = grant.terms.rate;
  row.told.keep_burst = grant.terms.burst;
  earliest_end_ns_ = std::min(earliest_end_ns_, end_ns);
  change(slot);
  if (grant.fill > 0) {
    row.fill_left = row.terms.rate == 0 ? grant.fill : 0;
    row.told.need = 0;  // the next need is news
    row.need = 0;
    row.filled_ns = now_ns;
    row.credit += grant.fill;
    changes_.push_back({slot, grant.fill, false});
  } else if (row.terms.rate > 0) {
    row.fill_left = 0;
  }
}

void Desk::on_poke(const Poke& poke, TimeNs now_ns) {
  if (poke.session == session_ && session_ != 0) early_at_ns_ = std::min(early_at_ns_, now_ns);
}

std::optional<Goodbye> Desk::leave(TimeNs now_ns) {
  drop_all(now_ns);
  if (session_ == 0) return std::nullopt;
  const Goodbye goodbye{session_};
  session_ = prev_session_ = 0;
  in_flight_ = greeting_ = false;
  return goodbye;
}

DeskState Desk::state() const {
  DeskState state;
  state.agent_epoch = options_.agent_epoch;
  state.hello_no = hello_no_;
  state.session = session_ != 0 ? session_ : prev_session_;
  state.accepted_seq = accepted_seq_;
  state.epoch_seen = epoch_seen_;
  for (const std::uint32_t slot : slots_) {
    const Row& row = rows_[slot];
    if (row.state == LeaseState::live || row.state == LeaseState::tail)
      state.held.push_back(
          {row.name, row.terms, row.granted, row.proof, row.end_ns, row.tail_end_ns, row.hosts});
  }
  return state;
}

void Desk::restore(const DeskState& state) {
  options_.agent_epoch = state.agent_epoch;
  hello_no_ = state.hello_no;
  prev_session_ = state.session;
  accepted_seq_ = state.accepted_seq;
  epoch_seen_ = state.epoch_seen;
  restored_ = state.held;
}

}  // namespace weir::lease
