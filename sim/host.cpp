#include "sim/host.h"

#include <algorithm>
#include <utility>

#include "lease/random.h"

namespace weir::sim {
namespace {

// An agent notices the end of a lease with its next tick, at the latest.
constexpr TimeNs kTickNs = lease::kMs;

// The desk's views have the margin for a fast clock taken off; what counts is the lease itself.
Micro whole_rate(Micro minted_rate) {
  Micro rate = std::max<Micro>(0, lease::mul_div(minted_rate, 1000, 999) - 2);
  while (rate - lease::mul_div(rate, lease::kDriftPpm, 1'000'000) < minted_rate)
    ++rate;
  return rate;
}

}  // namespace

Host::Host(HostOptions options, Clock clock_of, Watches& watches, TimeNs now_ns)
    : clock(clock_of), options_(std::move(options)), watches_(&watches) {
  for (std::uint32_t limit = 0; limit < watches.size(); ++limit) {
    const Callers& callers = options_.callers[limit];
    const std::uint64_t seed = lease::mix(options_.seed, 1000 + limit);
    rows_.emplace_back(callers, Arrivals(seed, callers.by_chance, now_ns));
    set_fallback(limit);
    if (options_.mutants.count_retries) rows_.back().count_retries();
    rows_.back().begin(now_ns, clock);
  }
  told_held_.resize(rows_.size());
  looked_ns_.assign(rows_.size(), now_ns);
  news_ns_.assign(rows_.size(), lease::kNever);
  new_desk(lease::mix(options_.seed, 1), now_ns);
  lease::Random random(lease::mix(options_.seed, 2));
  next_look_ns_ = now_ns + random.between(0, options_.refresh_ns / 4);
}

void Host::new_desk(std::uint64_t seed, TimeNs now_ns) {
  lease::DeskOptions desk;
  desk.host = options_.name;
  desk.seed = seed;
  desk.refresh_ns = options_.refresh_ns;
  if (desk_) {
    const lease::Desk::Counts& counts = desk_->counts();
    counts_before.requests_total += counts.requests_total;
    counts_before.retries_total += counts.retries_total;
    counts_before.withdrawn_total += counts.withdrawn_total;
    counts_before.identities_total += counts.identities_total;
    counts_before.clock_runaway_total += counts.clock_runaway_total;
  }
  desk_.emplace(std::move(desk));
  desk_->mutants = options_.mutants;
  if (kept_) desk_->restore(*kept_);
  kept_.reset();
  for (std::uint32_t limit = 0; limit < rows_.size(); ++limit)
    if ((*watches_)[limit].leaf)
      desk_->add_limit(limit, (*watches_)[limit].config.name, clock.local(now_ns));
  apply(now_ns);
}

// What the rules file says of a limit without a server.
void Host::set_fallback(std::uint32_t limit) {
  set_fallback(limit, desk_ ? desk_->view(limit).hosts : 0);
}
void Host::set_fallback(std::uint32_t limit, std::uint32_t hosts_known) {
  const lease::LimitConfig& config = (*watches_)[limit].config;
  const std::int64_t hosts = hosts_known > 0 ? hosts_known : options_.hosts;
  const bool each = config.threshold == lease::Threshold::per_host;
  rows_[limit].set_fallback(options_.fallback, each ? config.rate : config.rate / hosts,
                            each ? config.burst : std::max(lease::kToken, config.burst / hosts));
}

void Host::apply(TimeNs now_ns) {
  for (;;) {
    const std::vector<lease::Change>& changes = desk_->take_changes();
    if (changes.empty()) return;
    for (const lease::Change& change : changes) {
      Row& row = rows_[change.slot];
      row.advance(now_ns, clock, true, (*watches_)[change.slot].log);
      if (change.drain) desk_->drained(change.slot, row.drain(), clock.local(now_ns));
      const lease::LeaseView view = desk_->view(change.slot);
      set_fallback(change.slot, view.hosts);
      row.set_terms(view);
      if (change.fill > 0) row.fill(change.fill);
      update_held(change.slot, now_ns);
      news_ns_[change.slot] =
          std::max(row.news_ns(now_ns) + kTickNs, looked_ns_[change.slot] + options_.look_gap_ns);
    }
  }
}

Bound Host::held(std::uint32_t limit, TimeNs now_ns) const {
  if (life_ == Life::off || copy_) return {};
  const lease::LeaseView& terms = rows_[limit].terms();
  lease::LeaseState state = terms.state;
  if (!agent_runs()) {
    // Nobody withdraws it, but its time is over all the same.
    const TimeNs local_ns = clock.local(now_ns);
    if (state == lease::LeaseState::live && local_ns >= terms.end_ns)
      state = lease::LeaseState::tail;
    if (state == lease::LeaseState::tail && local_ns >= terms.tail_end_ns)
      state = lease::LeaseState::ended;
  }
  // A tail without a rate is none: a desk ends it with the lease.
  Bound tail;
  const auto whole = [&](Micro rate) {
    return options_.mutants.full_rate ? rate : whole_rate(rate);
  };
  if (terms.tail_rate > 0) tail = {whole(terms.tail_rate), terms.tail_burst};
  if (state == lease::LeaseState::live)
    return {std::max(whole(terms.rate), tail.rate), std::max(terms.burst, tail.burst)};
  return state == lease::LeaseState::tail ? tail : Bound{};
}

void Host::update_held(std::uint32_t slot, TimeNs now_ns) {
  const Bound now = held(slot, now_ns);
  Bound& told = told_held_[slot];
  if (now == told) return;
  if (now.rate != told.rate) changed.push_back(slot);
  watches_->change_held(slot, now.rate - told.rate, now.burst - told.burst);
  told = now;
}

void Host::observe(std::uint32_t slot, TimeNs now_ns) {
  Row& row = rows_[slot];
  row.advance(now_ns, clock, true, (*watches_)[slot].log);
  desk_->observe(slot, row.usage(now_ns), clock.local(now_ns));
  row.observed();
  looked_ns_[slot] = now_ns;
  news_ns_[slot] = std::max(row.news_ns(now_ns) + kTickNs, now_ns + options_.look_gap_ns);
}

void Host::look(TimeNs now_ns) {
  const bool all = now_ns >= next_look_ns_;
  if (all) next_look_ns_ = now_ns + options_.refresh_ns / 4;
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
    if (!(*watches_)[slot].leaf) continue;
    if (all) {
      observe(slot, now_ns);
    } else if (news_ns_[slot] <= now_ns) {
      Row& row = rows_[slot];
      row.advance(now_ns, clock, true, (*watches_)[slot].log);
      if (row.news())
        observe(slot, now_ns);
      else
        news_ns_[slot] = std::max(row.news_ns(now_ns), now_ns) + kTickNs;
    }
  }
}

// Withdraw, mint, put in force, then talk: however long the sleep was.
void Host::wake(TimeNs now_ns) {
  if (!agent_runs()) {
    // Nobody is there to wake; only the judges see that time has passed.
    for (std::uint32_t slot = 0; slot < rows_.size(); ++slot)
      update_held(slot, now_ns);
    return;
  }
  desk_->withdraw(clock.local(now_ns));
  apply(now_ns);
  look(now_ns);
  apply(now_ns);
  talk(now_ns);
}

void Host::say_hello(lease::Hello hello, TimeNs now_ns) {
  if (options_.liar)
    for (std::uint32_t limit = 0; limit < rows_.size(); ++limit) {
      const lease::LimitConfig& config = (*watches_)[limit].config;
      const lease::Terms all{config.rate, config.burst, config.rate, config.burst};
      std::erase_if(hello.claims, [&](const lease::Claim& claim) {
        return claim.limit == (*watches_)[limit].id;
      });
      hello.claims.push_back({(*watches_)[limit].id, all, 12345, all});
    }
  in_flight_since_ns_ = std::min(in_flight_since_ns_, now_ns);
  outbox.emplace_back(std::move(hello));
}

void Host::talk(TimeNs now_ns) {
  if (!linked_) return;
  const TimeNs local_ns = clock.local(now_ns);
  if (auto hello = desk_->next_hello(local_ns)) {
    apply(now_ns);
    say_hello(std::move(*hello), now_ns);
  }
  if (const lease::Request* request = desk_->next_request(local_ns)) {
    lease::Request copy = *request;
    apply(now_ns);
    if (options_.liar)
      for (lease::Want& want : copy.wants) {
        want.returned = 1000 * lease::kToken;
        want.keep_rate = want.keep_burst = lease::kMicroMax;
      }
    in_flight_since_ns_ = std::min(in_flight_since_ns_, now_ns);
    outbox.emplace_back(std::move(copy));
  }
}

void Host::link_up(TimeNs now_ns) {
  linked_ = true;
  lease::Hello hello = desk_->connected(clock.local(now_ns));
  apply(now_ns);
  in_flight_since_ns_ = lease::kNever;
  say_hello(std::move(hello), now_ns);
  talk(now_ns);
}

void Host::link_down(TimeNs now_ns) {
  linked_ = false;
  in_flight_since_ns_ = lease::kNever;
  outbox.clear();
  if (agent_runs()) desk_->disconnected(clock.local(now_ns));
}

void Host::deliver(const Message& message, TimeNs now_ns) {
  const TimeNs local_ns = clock.local(now_ns);
  desk_->withdraw(local_ns);
  apply(now_ns);
  in_flight_since_ns_ = lease::kNever;
  if (const auto* welcome = std::get_if<lease::Welcome>(&message)) {
    const lease::Desk::Reply reply = desk_->on_welcome(*welcome, local_ns);
    apply(now_ns);
    if (reply == lease::Desk::Reply::hello_again) {
      lease::Hello hello = desk_->connected(local_ns);
      apply(now_ns);
      say_hello(std::move(hello), now_ns);
    }
    if (reply == lease::Desk::Reply::wrong_server) wants_other_server = true;
  } else if (const auto* answer = std::get_if<lease::Answer>(&message)) {
    const auto ack = desk_->on_answer(*answer, local_ns);
    apply(now_ns);  // before it is confirmed: what was given up is somebody else's then
    if (ack) outbox.emplace_back(*ack);
  } else if (const auto* poke = std::get_if<lease::Poke>(&message)) {
    desk_->on_poke(*poke, local_ns);
  }
  talk(now_ns);
}

TimeNs Host::next_wake_ns(TimeNs now_ns) const {
  if (life_ == Life::off) return lease::kNever;
  if (!agent_runs()) {
    TimeNs at_ns = lease::kNever;
    for (const Row& row : rows_)
      for (const TimeNs end_ns : {row.terms().end_ns, row.terms().tail_end_ns})
        if (const TimeNs end_true_ns = clock.when(end_ns); end_true_ns > now_ns)
          at_ns = std::min(at_ns, end_true_ns);
    return at_ns;
  }
  TimeNs at_ns = next_look_ns_;
  for (const TimeNs news_ns : news_ns_)
    at_ns = std::min(at_ns, news_ns);
  const TimeNs local_ns = clock.local(now_ns);
  const TimeNs deadline_ns = desk_->next_deadline(local_ns);
  // A tick later, but not for ever a tick later.
  if (deadline_ns < local_ns + (at_ns - now_ns) * 2)
    at_ns = std::min(at_ns, clock.when(deadline_ns) + kTickNs / 2);
  return std::max(at_ns, now_ns + kTickNs / 4);
}

void Host::advance(TimeNs now_ns) {
  if (!machine_on()) return;
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
    rows_[slot].advance(now_ns, clock, agent_runs(), (*watches_)[slot].log);
    if (!agent_runs()) update_held(slot, now_ns);
  }
}

void Host::demand_changed(TimeNs now_ns) {
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot)
    news_ns_[slot] =
        std::max(rows_[slot].news_ns(now_ns) + kTickNs, looked_ns_[slot] + options_.look_gap_ns);
}

void Host::leap(TimeNs forward_ns, TimeNs now_ns) {
  advance(now_ns);
  clock.leap(forward_ns, now_ns);
  for (Row& row : rows_)
    row.leap(clock, now_ns);
}

void Host::stop(Life life, TimeNs now_ns) {
  advance(now_ns);
  if (life == Life::dead) kept_ = desk_->state();
  life_ = life;
  if (life == Life::off) {
    for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
      rows_[slot].lose_tokens();
      rows_[slot].set_terms({});
      update_held(slot, now_ns);
    }
  }
  if (life == Life::off || life == Life::dead) linked_ = false;
}

void Host::go_on(TimeNs now_ns) {
  const Life before = life_;
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
    if (before == Life::off || before == Life::asleep)
      rows_[slot].skip(now_ns, clock);
    else
      rows_[slot].advance(now_ns, clock, false, (*watches_)[slot].log);
    // The tick until the agent has withdrawn what ended meanwhile is the processes' own.
    if (before == Life::asleep)
      rows_[slot].advance(now_ns + kTickNs, clock, false, (*watches_)[slot].log);
  }
  life_ = Life::running;
  if (before == Life::off || before == Life::dead)
    new_desk(lease::mix(options_.seed, 100 + ++lives_), now_ns);
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot)
    update_held(slot, now_ns);
}

void Host::leave(TimeNs now_ns) {
  if (!agent_runs()) return;
  advance(now_ns);
  const auto goodbye = desk_->leave(clock.local(now_ns));
  apply(now_ns);
  if (linked_ && goodbye) outbox.emplace_back(*goodbye);
}

void Host::become_copy(std::uint64_t seed, TimeNs now_ns) {
  options_.seed = seed;
  std::fill(told_held_.begin(), told_held_.end(), Bound{});
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot)
    rows_[slot].reseed(lease::mix(seed, slot), now_ns);
  set_copy(true, now_ns);
  link_down(now_ns);
}

void Host::set_copy(bool copy, TimeNs now_ns) {
  if (copy == copy_) return;
  advance(now_ns);
  copy_ = copy;
  copied_identity_ = desk_->agent_epoch();
  copied_epoch_ = desk_->server_epoch();
  for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
    rows_[slot].set_copy(copy);
    update_held(slot, now_ns);
  }
}

}  // namespace weir::sim
