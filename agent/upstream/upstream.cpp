#include "agent/upstream/upstream.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "agent/upstream/whole_file.h"
#include "rules/file.h"

namespace weir::agent {

namespace {

constexpr std::size_t kLeasesFileBytesMax = 4U << 20;

// As the desk takes the margin off.
lease::Micro mintable(lease::Micro rate) {
  return rate - lease::mul_div(rate, lease::kDriftPpm, 1'000'000);
}

lease::DeskOptions desk_options(const UpstreamOptions& options) {
  lease::DeskOptions desk;
  desk.host = options.host;
  desk.agent_epoch = options.agent_epoch;
  desk.seed = options.seed;
  desk.tell_longer = false;
  return desk;
}

}  // namespace

Upstream::Upstream(UpstreamOptions options, UpstreamClocks clocks, Speaker& speaker)
    : options_(std::move(options)),
      clocks_(std::move(clocks)),
      speaker_(speaker),
      desk_(desk_options(options_)),
      started_ns_(clocks_.boot_ns()) {}

Upstream::~Upstream() = default;

// ---- limits

void Upstream::restore(std::uint64_t counters_id) { read_saved(counters_id, true); }

void Upstream::read_saved(std::uint64_t counters_id, bool adopted) {
  counters_id_ = counters_id;
  if (options_.leases_file.empty()) return;
  const FileText file = read_file(options_.leases_file, kLeasesFileBytesMax);
  auto saved = parse_saved_leases(file.text);
  if (!saved || saved->boot_id != options_.boot_id) return;
  // Whether or not its leases are ours: others hold what that server gave them until then.
  heard_ns_ = std::min(saved->heard_boot_ns, started_ns_);
  options_.ttl_ns = std::max(options_.ttl_ns, saved->ttl_ns);
  if (!adopted || saved->counters_id != counters_id) return;
  desk_.restore(saved->desk);
  for (lease::DeskState::Held& held : saved->desk.held)
    restored_[held.name] = held;
}

void Upstream::set_limits(const std::vector<LimitRule>& limits, std::uint32_t hosts) {
  if (hosts != 0) hosts_ = hosts;
  std::map<std::string, Leased> next;
  for (const LimitRule& rule : limits) {
    const auto kept = limits_.find(rule.name);
    Leased leased = kept != limits_.end() ? std::move(kept->second) : Leased{};
    leased.rule = rule;
    next.emplace(rule.name, std::move(leased));
  }
  const std::int64_t now_ns = clocks_.boot_ns();
  for (const auto& [name, leased] : limits_)
    if (leased.bound && !next.contains(name)) desk_.remove_limit(leased.slot, now_ns);
  std::fill(by_slot_.begin(), by_slot_.end(), nullptr);
  limits_ = std::move(next);
  for (auto& [name, leased] : limits_)
    if (leased.bound) by_slot_[leased.slot] = &leased;
}

TermsContext Upstream::context_of(bool fallback) const {
  return {.mono_minus_boot_ns = clocks_.mono_ns() - clocks_.boot_ns(),
          .hosts = hosts_,
          .fallback = fallback,
          .fallback_from_boot_ns = fallback_from_ns()};
}

shm::LimitTerms Upstream::terms_of(const LimitRule& rule) const {
  const auto found = limits_.find(rule.name);
  if (found != limits_.end() && found->second.bound)
    return lease_terms(rule, desk_.view(found->second.slot), context_of(found->second.fallback));
  lease::LeaseView view;
  if (const auto kept = restored_.find(rule.name); kept != restored_.end()) {
    // As the desk will say it when it knows the limit.
    const lease::DeskState::Held& held = kept->second;
    view.state = held.terms.rate > 0 || held.terms.burst > 0 ? lease::LeaseState::live
                                                             : lease::LeaseState::tail;
    view.rate = mintable(held.terms.rate);
    view.burst = held.terms.burst;
    view.tail_rate = mintable(held.terms.tail_rate);
    view.tail_burst = held.terms.tail_burst;
    view.end_ns = held.end_ns;
    view.tail_end_ns = held.tail_end_ns;
    view.hosts = held.hosts;
  }
  return lease_terms(rule, view, context_of(false));
}

void Upstream::bind(Domain& domain) {
  domain_ = &domain;
  const std::int64_t now_ns = clocks_.boot_ns();
  by_slot_.assign(domain.options().limits_max, nullptr);
  update_at_.assign(domain.options().limits_max, 0);
  for (auto& [name, leased] : limits_) {
    const int slot = domain.slot_of(name);
    // A limit of the same name that is this host's own is none of the server's.
    const bool mine = slot >= 0 && domain.minter().limit(static_cast<std::uint32_t>(slot)).leased;
    if (leased.bound && (!mine || leased.slot != static_cast<std::uint32_t>(slot))) {
      desk_.remove_limit(leased.slot, now_ns);
      leased.bound = false;
    }
    if (!mine) continue;
    leased.slot = static_cast<std::uint32_t>(slot);
    by_slot_[leased.slot] = &leased;
    if (!leased.bound) desk_.add_limit(leased.slot, name, now_ns);
    leased.bound = true;
    leased.watched = true;
  }
  restored_.clear();
  next_run_ns_ = next_judge_ns_ = next_renew_ns_ = 0;
  run(now_ns);
}

std::optional<Upstream::LimitView> Upstream::view_of(const std::string& limit) const {
  const auto found = limits_.find(limit);
  if (found == limits_.end() || !found->second.bound) return std::nullopt;
  LimitView view{desk_.view(found->second.slot), found->second.fallback, 0};
  view.since_ns = view.fallback ? found->second.fallback_since_ns : view.lease.since_ns;
  return view;
}

// ---- waking

void Upstream::tick() {
  const std::int64_t now_ns = clocks_.boot_ns();
  if (now_ns >= next_run_ns_) run(now_ns);
}

void Upstream::run(std::int64_t now_ns) {
  desk_.withdraw(now_ns);
  if (now_ns >= next_judge_ns_) judge(now_ns);
  if (now_ns >= next_renew_ns_) renew_idle(now_ns);
  lengthen(now_ns);
  apply(now_ns);
  if (open_) talk(now_ns);
  next_run_ns_ = std::min({desk_.next_deadline(now_ns), next_judge_ns_, next_renew_ns_});
  if (longer_) next_run_ns_ = std::min(next_run_ns_, next_longer_ns_);
}

// Each answer moves the ends of all leases on. A busy host gets many a second, and its limits may
// be a thousand: their new ends are put in force together, long before the old ones come. Where
// this process dies in between, the fallback begins with the old ends: earlier by a small part of
// the tail, which is what makes it begin after the leases of all others.
void Upstream::lengthen(std::int64_t now_ns) {
  longer_ = desk_.take_longer() || longer_;
  if (!longer_ || now_ns < next_longer_ns_) return;
  longer_ = false;
  std::int64_t wait_ns = std::min(kLongerNs, (desk_.lease_end_ns() - now_ns) / kLongerPart);
  for (Leased* limit : by_slot_) {
    if (limit == nullptr) continue;
    const lease::LeaseView view = desk_.view(limit->slot);
    if (view.state != lease::LeaseState::live) continue;
    want_update(*limit);
    wait_ns = std::min(wait_ns, (view.tail_end_ns - view.end_ns) / kLongerPart);
  }
  next_longer_ns_ = now_ns + std::max<std::int64_t>(0, wait_ns);
}

void Upstream::talk(std::int64_t now_ns) {
  if (const auto hello = desk_.next_hello(now_ns)) {
    apply(now_ns);
    save(now_ns);
    speaker_.say(*hello);
  }
  const lease::Request* request = desk_.next_request(now_ns);
  if (request == nullptr) return;
  apply(now_ns);
  if (request->seq != sent_seq_ || sent_first_ns_ == 0) {
    sent_seq_ = request->seq;
    sent_first_ns_ = now_ns;
    timed_out_ = false;
    next_judge_ns_ = std::min(next_judge_ns_, now_ns + patience_ns());
  }
  speaker_.say(*request);
}

// ---- the connection

void Upstream::say_hello(std::int64_t now_ns) {
  const lease::Hello hello = desk_.connected(now_ns);
  apply(now_ns);
  // The number of a hello is never used twice, by no successor either.
  save(now_ns);
  speaker_.say(hello);
}

void Upstream::on_open() {
  const std::int64_t now_ns = clocks_.boot_ns();
  open_ = true;
  opened_ns_ = now_ns;
  welcomed_ = false;
  sent_first_ns_ = 0;
  say_hello(now_ns);
  run(now_ns);
}

void Upstream::on_closed() {
  const std::int64_t now_ns = clocks_.boot_ns();
  open_ = welcomed_ = false;
  sent_first_ns_ = 0;
  desk_.disconnected(now_ns);
  next_judge_ns_ = now_ns;
  run(now_ns);
}

void Upstream::on_welcome(const lease::Welcome& welcome) {
  heard();
  const std::int64_t now_ns = heard_ns_;
  const lease::Desk::Reply reply = desk_.on_welcome(welcome, now_ns);
  switch (reply) {
    case lease::Desk::Reply::ok:
      welcomed_ = true;
      sent_first_ns_ = 0;
      learning_ = welcome.learning;
      save(now_ns);
      break;
    case lease::Desk::Reply::hello_again:
      spdlog::warn(
          "the token server knows this host's identity as another's (a copy of it, or one that was "
          "restored); its leases are dropped and it goes on as a new one");
      say_hello(now_ns);
      break;
    case lease::Desk::Reply::wrong_server:
      speaker_.go_elsewhere("the server is of an older epoch than one that was heard before");
      return;
    case lease::Desk::Reply::ignored:
      break;
  }
  next_judge_ns_ = now_ns;
  run(now_ns);
}

void Upstream::on_answer(const lease::Answer& answer) {
  heard();
  const std::int64_t now_ns = heard_ns_;
  const std::int64_t sent_ns = sent_first_ns_;
  const auto ack = desk_.on_answer(answer, now_ns);
  if (ack) {
    options_.ttl_ns = answer.ttl_ns;
    if (learning_ && !answer.learning) next_judge_ns_ = now_ns;
    learning_ = answer.learning;
    if (!timed_out_) ++(answer.busy ? counts_.busy_total : counts_.ok_total);
    // From the first time it was sent: which of them was answered, nobody can say.
    const std::int64_t trip_ns = now_ns - sent_ns;
    round_trips_.add(trip_ns);
    usual_trip_ns_ += (trip_ns - usual_trip_ns_) / 4;
    sent_first_ns_ = 0;
    if (!answering_) next_judge_ns_ = now_ns;
  }
  apply(now_ns);
  if (ack) speaker_.say(*ack);
  run(now_ns);
}

void Upstream::on_poke(const lease::Poke& poke) {
  heard();
  desk_.on_poke(poke, heard_ns_);
  run(heard_ns_);
}

void Upstream::on_refused() { ++counts_.refused_total; }

void Upstream::leave() {
  const std::int64_t now_ns = clocks_.boot_ns();
  const auto goodbye = desk_.leave(now_ns);
  apply(now_ns);
  save(now_ns);
  if (goodbye && open_) speaker_.say(*goodbye);
  open_ = welcomed_ = false;
}

// ---- fallback

// A server that is far away is late only after twice its usual time; what it says then is as good.
std::int64_t Upstream::patience_ns() const {
  const std::int64_t least_ns = options_.request_timeout_ns;
  return std::clamp(2 * usual_trip_ns_, least_ns, std::max(least_ns, options_.ttl_ns / 2));
}

// A host without a lease waits until those of all others have ended: from then on nobody has more
// than its part of the limit.
std::int64_t Upstream::fallback_from_ns() const {
  const std::int64_t patience_ns = started_ns_ + options_.request_timeout_ns;
  if (heard_ns_ == 0) return patience_ns;
  return std::max(heard_ns_ + lease::lengthened(options_.ttl_ns), patience_ns);
}

bool Upstream::fallback_due(const Leased& limit, const lease::LeaseView& view,
                            std::int64_t now_ns) const {
  using lease::LeaseState;
  if (view.state == LeaseState::live) return false;
  // A server that learns has nothing for newcomers yet. Who was cut off stays in fallback
  // meanwhile, and whose lease ends now goes there: its part is what it may count on.
  if (answering_)
    return learning_ && (limit.fallback || (view.tail_end_ns != 0 && now_ns >= view.tail_end_ns));
  if (view.state == LeaseState::tail) return false;
  return now_ns >= std::max(view.tail_end_ns, fallback_from_ns());
}

// One that takes connections and says nothing, as when it is stopped, is left while the leases
// last: another one in the list may know what to do.
void Upstream::leave_if_silent(std::int64_t now_ns) {
  if (!open_) return;
  const std::int64_t asked_ns = welcomed_ ? sent_first_ns_ : opened_ns_;
  if (asked_ns == 0 ||
      now_ns - asked_ns < patience_ns() + options_.ttl_ns / (options_.several_servers ? 4 : 2))
    return;
  open_ = false;
  speaker_.go_elsewhere("no answer for " + std::to_string((now_ns - asked_ns) / 1'000'000) + " ms");
}

void Upstream::judge(std::int64_t now_ns) {
  leave_if_silent(now_ns);
  const bool late = sent_first_ns_ != 0 && now_ns - sent_first_ns_ >= patience_ns();
  if (late && !timed_out_) {
    timed_out_ = true;
    ++counts_.timeout_total;
  }
  const bool was_answering = answering_;
  answering_ = welcomed_ && !late;
  if (answering_ != was_answering) {
    if (answering_)
      spdlog::info("the token server answers; leases come from it");
    else
      spdlog::warn(
          "the token server does not answer; leases run on to their end, then the limits "
          "go by their fallback rules");
  }
  bool without = false;
  for (auto& [name, limit] : limits_) {
    if (!limit.bound) continue;
    const lease::LeaseView view = desk_.view(limit.slot);
    const bool due = fallback_due(limit, view, now_ns);
    without = without || due || (!answering_ && view.state == lease::LeaseState::tail);
    if (due == limit.fallback) continue;
    limit.fallback = due;
    limit.fallback_since_ns = now_ns;
    want_update(limit);
  }
  count_fallback(without, now_ns);
  next_judge_ns_ = lease::kNever;
  if (sent_first_ns_ != 0 && !timed_out_) next_judge_ns_ = sent_first_ns_ + patience_ns();
  if (!answering_ || without) next_judge_ns_ = std::min(next_judge_ns_, now_ns + kJudgeNs);
}

void Upstream::count_fallback(bool now_in_it, std::int64_t now_ns) {
  if (now_in_it == in_fallback()) return;
  if (now_in_it) {
    fallback_since_ns_ = now_ns;
    ++counts_.fallback_starts_total;
    spdlog::warn("limits of the cluster are in fallback on this host: no lease, no server");
    return;
  }
  counts_.fallback_ns += now_ns - fallback_since_ns_;
  spdlog::info("no limit is in fallback any more, after {:.1f} s",
               static_cast<double>(now_ns - fallback_since_ns_) / 1e9);
  fallback_since_ns_ = 0;
}

std::int64_t Upstream::fallback_ns() const {
  const std::int64_t current = fallback_since_ns_ == 0 ? 0 : clocks_.boot_ns() - fallback_since_ns_;
  return counts_.fallback_ns + current;
}

// While a server is heard, the time at which a limit without a lease may fall back moves on.
void Upstream::renew_idle(std::int64_t now_ns) {
  next_renew_ns_ = now_ns + kRenewNs;
  if (!answering_) return;
  for (auto& [name, limit] : limits_)
    if (limit.bound && !limit.fallback && desk_.view(limit.slot).state != lease::LeaseState::live)
      want_update(limit);
}

// ---- putting in force

LeaseUpdate& Upstream::update_of(std::uint32_t slot) {
  std::uint32_t& at = update_at_[slot];
  if (at == 0) {
    updates_.emplace_back().slot = slot;
    at = static_cast<std::uint32_t>(updates_.size());
  }
  return updates_[at - 1];
}

void Upstream::want_update(Leased& limit) { (void)update_of(limit.slot); }

bool Upstream::collect_updates() {
  for (const lease::Change& change : desk_.take_changes()) {
    if (change.slot >= by_slot_.size() || by_slot_[change.slot] == nullptr) continue;
    LeaseUpdate& update = update_of(change.slot);
    update.fill +=
        static_cast<std::uint64_t>(std::max<lease::Micro>(change.fill, 0) / lease::kToken);
    update.drain = update.drain || change.drain;
    // A lease that has come ends a fallback, whatever else is the matter.
    Leased& limit = *by_slot_[change.slot];
    if (limit.fallback && desk_.view(change.slot).state == lease::LeaseState::live)
      limit.fallback = false;
  }
  if (updates_.empty()) return false;
  for (LeaseUpdate& update : updates_) {
    update_at_[update.slot] = 0;
    if (const Leased* limit = by_slot_[update.slot])
      update.terms = lease_terms(limit->rule, desk_.view(update.slot), context_of(limit->fallback));
  }
  std::erase_if(updates_, [&](const LeaseUpdate& u) { return by_slot_[u.slot] == nullptr; });
  return !updates_.empty();
}

void Upstream::apply(std::int64_t now_ns) {
  if (domain_ == nullptr) return;
  // What is drained is told to the desk, which may change what is in force once more.
  constexpr int kRoundsMax = 4;
  for (int round = 0; round < kRoundsMax && collect_updates(); ++round) {
    save_if_less(now_ns);
    domain_->put_leases(updates_);
    std::vector<LeaseUpdate> done;
    done.swap(updates_);
    for (const LeaseUpdate& update : done)
      if (update.drain) desk_.drained(update.slot, update.drained, now_ns);
  }
}

// ---- what a successor has to know

void Upstream::save_if_less(std::int64_t now_ns) {
  if (options_.leases_file.empty()) return;
  bool less = false;
  for (const LeaseUpdate& update : updates_) {
    const Leased* limit = by_slot_[update.slot];
    const lease::LeaseView view = desk_.view(update.slot);
    less = less || view.rate < limit->saved.rate || view.burst < limit->saved.burst ||
           view.tail_rate < limit->saved.tail_rate || view.tail_burst < limit->saved.tail_burst;
  }
  if (less || now_ns >= next_save_ns_) save(now_ns);
}

void Upstream::save(std::int64_t now_ns) {
  if (options_.leases_file.empty()) return;
  next_save_ns_ = now_ns + kSaveNs;
  SavedLeases saved{options_.boot_id, counters_id_, heard_ns_, options_.ttl_ns, desk_.state()};
  const std::string failed = write_or_remove_file(options_.leases_file, to_text(saved));
  if (!failed.empty() && !save_failed_)
    spdlog::warn("{}; an agent that follows this one starts without its leases", failed);
  save_failed_ = !failed.empty();
  for (auto& [name, limit] : limits_) {
    if (!limit.bound) continue;
    const lease::LeaseView view = desk_.view(limit.slot);
    limit.saved = {view.rate, view.burst, view.tail_rate, view.tail_burst};
  }
}

// ---- demand

void Upstream::observe(Leased& limit, std::int64_t now_ns) {
  desk_.observe(limit.slot, domain_->minter().usage(limit.slot), now_ns);
  limit.observed_ns = now_ns;
}

void Upstream::observe_touched(std::int64_t now_ns) {
  next_observe_ns_ = now_ns + kObserveNs;
  Minter& minter = domain_->minter();
  minter.take_touched([&](std::uint32_t slot) {
    if (slot >= by_slot_.size() || by_slot_[slot] == nullptr) return true;
    Leased& limit = *by_slot_[slot];
    // A rate that suffices can wait; single tokens and refusals cannot.
    const bool calm = minter.limit(slot).terms.amount > 0 && !minter.refused_since(slot);
    if (calm && now_ns - limit.observed_ns < kObserveCalmNs) return false;
    limit.watched = true;
    observe(limit, now_ns);
    return true;
  });
}

// A demand that has gone is noticed by looking, too.
void Upstream::observe_idle(std::int64_t now_ns) {
  next_observe_idle_ns_ = now_ns + kObserveIdleNs;
  for (Leased* each : by_slot_) {
    if (each == nullptr || !each->watched || now_ns - each->observed_ns < kObserveIdleNs) continue;
    Leased& limit = *each;
    observe(limit, now_ns);
    const lease::LeaseView view = desk_.view(limit.slot);
    // Tokens that came are watched until they are spent or go back.
    limit.watched = view.want > 0 || (view.state == lease::LeaseState::live && view.burst > 0);
  }
}

void Upstream::look() {
  if (domain_ == nullptr) return;
  const std::int64_t now_ns = clocks_.boot_ns();
  Minter& minter = domain_->minter();
  bool looked = false;
  if (minter.newly_refused() || (minter.any_touched() && now_ns >= next_observe_ns_)) {
    observe_touched(now_ns);
    looked = true;
  }
  if (now_ns >= next_observe_idle_ns_) {
    observe_idle(now_ns);
    looked = true;
  }
  if (looked) run(now_ns);
}

}  // namespace weir::agent
