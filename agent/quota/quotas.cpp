#include "agent/quota/quotas.h"

#include <algorithm>
#include <utility>

#include "server/wire_quota.h"

namespace weir::agent {

using lease::QuotaService;
using lease::Units;

static_assert(static_cast<int>(QuotaService::unreachable) ==
              static_cast<int>(shm::QuotaService::unreachable));
static_assert(static_cast<int>(QuotaService::suspended) ==
              static_cast<int>(shm::QuotaService::suspended));
static_assert(lease::kQuotaNameBytesMax <= shm::kQuotaNameMax);

namespace {

constexpr int kRoundsMax = 8;
constexpr int kMessagesMax = 8;  // in one turn
constexpr Units kNeedMax = Units{1} << 48;

lease::QuotaDeskOptions desk_options(const QuotasOptions& options) {
  lease::QuotaDeskOptions desk;
  desk.host = options.host;
  desk.agent_epoch = options.agent_epoch;
  desk.seed = options.seed;
  return desk;
}

bool has_nothing(QuotaService service) noexcept {
  return service != QuotaService::ok && service != QuotaService::none;
}

}  // namespace

Quotas::Quotas(QuotasOptions options, QuotaClocks clocks, QuotaSpeaker& speaker,
               const QuotaPlace& place)
    : options_(std::move(options)),
      clocks_(std::move(clocks)),
      speaker_(speaker),
      table_(place, options_.agent_epoch),
      usage_(table_.kept_header(), options_.agent_epoch),
      desk_(desk_options(options_)),
      keys_(table_.keys_max()) {
  desk_.mutants = options_.mutants;
  const std::int64_t now_ns = clocks_.boot_ns();
  table_.set_serving(false);
  table_.set_usage(0, kUsageRowsMax, false);
  for (const QuotaTable::Restored& one : table_.take_restored()) {
    keys_[one.slot].used_ns = now_ns;
    desk_.restore_key(one.slot, one.kept, static_cast<Units>(table_.level(one.slot)), now_ns);
  }
  apply(now_ns);
  table_.wake_all();
}

// ---- what processes want

void Quotas::on_ask(std::string_view name, std::string_view key, std::uint64_t units) {
  const std::int64_t now_ns = clocks_.boot_ns();
  ++counts_.asks_total;
  busy_until_ns_ = now_ns + lease::kSecond;
  if (!lease::check_quota_key(name, key).empty() || units == 0) {
    ++counts_.bad_total;
    return;
  }
  const std::string joined = lease::quota_key(name, key);
  auto slot = table_.find(joined);
  if (slot && keys_[*slot].leaving) return;  // the caller asks again
  if (!slot) {
    slot = table_.take(joined);
    if (!slot) {
      ++counts_.crowded_total;
      return make_room(now_ns);
    }
    keys_[*slot] = Key{};
    desk_.add_key(*slot, joined, now_ns);
  }
  keys_[*slot].used_ns = now_ns;
  keys_[*slot].waited_for = true;
  table_.want(*slot, units);
  desk_.withdraw(now_ns);
  look(*slot, now_ns);
  apply(now_ns);
  talk(now_ns);
}

void Quotas::on_report(const QuotaCaller& caller, const shm::QuotaFrameTail& tail,
                       std::string_view name, std::string_view key, std::string_view reason) {
  const std::int64_t now_ns = clocks_.boot_ns();
  const auto kind = static_cast<shm::QuotaReportKind>(tail.kind);
  if (!lease::check_quota_key(name, key).empty() || tail.amount == 0 ||
      tail.amount > static_cast<std::uint64_t>(lease::kUnitsMax)) {
    ++counts_.bad_total;
    return;
  }
  const std::string joined = lease::quota_key(name, key);
  const auto slot = table_.find(joined);
  if (kind == shm::QuotaReportKind::refund_late && !put_refund(joined, tail.amount, now_ns)) {
    if (late_refunds_.size() >= kQuotaLateRefundsMax) {
      ++counts_.refunds_lost_total;
      return;
    }
    late_refunds_.push_back({joined, tail.amount});
  }
  lease::QuotaEvent event;
  event.action = kind == shm::QuotaReportKind::consume ? lease::QuotaAction::consume
                                                       : lease::QuotaAction::refund;
  event.host = options_.host;
  event.process = std::string(caller.process.substr(0, 64));
  event.uid = caller.uid;
  event.amount = static_cast<Units>(tail.amount);
  event.outcome = reason.empty() ? "ok" : std::string(reason);
  event.at_wall_ms = clocks_.wall_ms();
  if (slot) event.left = std::max<Units>(0, desk_.view(*slot).remaining_at_server);
  if (slot && kind == shm::QuotaReportKind::consume && tail.generation != 0 &&
      tail.generation == table_.generation(*slot))
    table_.kept_of(*slot).reported += tail.amount;
  (void)usage_.put(joined, std::move(event), now_ns);
}

// The key comes into use again, so that the server hears of it. False while there is no place.
bool Quotas::put_refund(const std::string& joined, std::uint64_t units, std::int64_t now_ns) {
  auto slot = table_.find(joined);
  if (slot && keys_[*slot].leaving) return false;
  if (!slot) {
    slot = table_.take(joined);
    if (!slot) {
      make_room(now_ns);
      return false;
    }
    keys_[*slot] = Key{};
    keys_[*slot].used_ns = now_ns;
    desk_.add_key(*slot, joined, now_ns);
  }
  const bool counted = table_.add_refund(*slot, units);
  look(*slot, now_ns);
  return counted;
}

// The key that was not used for the longest time makes room.
void Quotas::make_room(std::int64_t now_ns) {
  std::uint32_t oldest = UINT32_MAX;
  for (const std::uint32_t slot : table_.in_use()) {
    if (keys_[slot].leaving || now_ns - keys_[slot].used_ns < kQuotaIdleCrowdedNs) continue;
    if (oldest == UINT32_MAX || keys_[slot].used_ns < keys_[oldest].used_ns) oldest = slot;
  }
  if (oldest == UINT32_MAX) return;
  drop(oldest, now_ns);
  apply(now_ns);
}

// ---- looking

void Quotas::look_all(std::int64_t now_ns) {
  ++turn_;
  slots_.assign(table_.in_use().begin(), table_.in_use().end());
  for (const std::uint32_t slot : slots_) {
    const bool touched = table_.touched(slot);
    if (!touched && slot % kQuotaCalmTurns != turn_ % kQuotaCalmTurns) continue;
    if (touched) busy_until_ns_ = now_ns + lease::kSecond;
    look(slot, now_ns);
    if (table_.used(slot)) judge_idle(slot, now_ns);
  }
  for (std::size_t left = late_refunds_.size(); left-- > 0;) {
    LateRefund refund = std::move(late_refunds_.front());
    late_refunds_.pop_front();
    if (!put_refund(refund.joined, refund.units, now_ns))
      late_refunds_.push_back(std::move(refund));
  }
  table_.set_usage(usage_.rows(), kUsageRowsMax, usage_.full());
}

void Quotas::look(std::uint32_t slot, std::int64_t now_ns) {
  if (!table_.used(slot)) return;
  const std::uint64_t before = table_.kept_of(slot).consumed();
  lease::QuotaUse use;
  use.level = static_cast<Units>(table_.level(slot));
  use.need = std::min(static_cast<Units>(table_.wanted(slot)), kNeedMax);
  const std::uint64_t refunded = table_.refunded(slot);
  use.refunded_total = static_cast<Units>(refunded);
  table_.note_refund_seen(slot, refunded);
  if (use.need != 0 && use.need <= use.level) {
    // They are there by now.
    table_.clear_wanted(slot);
    table_.wake(slot);
    use.need = 0;
  }
  // Not everyone who waits has sent a frame: another one's may have been enough a moment ago.
  if (use.need != 0) keys_[slot].waited_for = true;
  if (table_.kept_of(slot).consumed() != before || use.need != 0) keys_[slot].used_ns = now_ns;
  desk_.observe(slot, use, now_ns);
}

std::uint64_t Quotas::unreported(std::uint32_t slot) {
  const std::uint64_t attributed = table_.attributed(slot);
  const std::uint64_t reported = table_.kept_of(slot).reported;
  return attributed > reported ? attributed - reported : 0;
}

void Quotas::judge_idle(std::uint32_t slot, std::int64_t now_ns) {
  Key& key = keys_[slot];
  if (now_ns - key.audited_ns >= kQuotaAuditNs) audit(slot, now_ns);
  if (key.leaving) return;
  const std::int64_t idle_ns = now_ns - key.used_ns;
  const bool refused = has_nothing(desk_.view(slot).service);
  if (idle_ns < (refused ? kQuotaIdleRefusedNs : kQuotaIdleNs)) return;
  // Work is under way that will want to say how it went.
  if (unreported(slot) != 0 && idle_ns < kQuotaReportLateNs) return;
  drop(slot, now_ns);
}

void Quotas::drop(std::uint32_t slot, std::int64_t now_ns) {
  audit(slot, now_ns);
  // A key that only makes room may have work under way that will be reported.
  if (now_ns - keys_[slot].used_ns >= kQuotaReportLateNs) audit_unreported(slot, now_ns);
  keys_[slot].leaving = true;
  table_.close(slot);
  desk_.drop_key(slot, now_ns);
}

// A row for what was consumed and no process will report.
void Quotas::audit(std::uint32_t slot, std::int64_t now_ns, bool last) {
  keys_[slot].audited_ns = now_ns;
  QuotaLedgerSlot& kept = table_.kept_of(slot);
  const std::uint64_t theirs = table_.attributed(slot) + kept.audited;
  if (kept.consumed() <= theirs) return;
  const std::uint64_t units = kept.consumed() - theirs;
  if (usage_.full() && !last) return;  // they add up
  if (put_consumed(slot, units, "", now_ns)) kept.audited += units;
}

// A row for what processes meant to report, and did not: most of them were killed.
void Quotas::audit_unreported(std::uint32_t slot, std::int64_t now_ns) {
  QuotaLedgerSlot& kept = table_.kept_of(slot);
  const std::uint64_t units = std::min(unreported(slot), kept.consumed());  // the word is theirs
  if (units == 0) return;
  (void)put_consumed(slot, units, "not reported", now_ns);
  kept.reported += units;
}

bool Quotas::put_consumed(std::uint32_t slot, std::uint64_t units, const char* outcome,
                          std::int64_t now_ns) {
  lease::QuotaEvent event;
  event.action = lease::QuotaAction::consume;
  event.host = options_.host;
  event.amount = static_cast<Units>(units);
  event.left = std::max<Units>(0, desk_.view(slot).remaining_at_server);
  event.outcome = outcome;
  event.at_wall_ms = clocks_.wall_ms();
  return usage_.put(table_.joined(slot), std::move(event), now_ns);
}

// ---- orders

void Quotas::apply(std::int64_t now_ns) {
  for (int round = 0; round < kRoundsMax; ++round) {
    const auto& orders = desk_.take_orders();
    if (orders.empty()) return;
    for (const lease::QuotaOrder& order : orders) {
      if (!table_.used(order.slot)) continue;
      if (order.keep && !order.gone) table_.keep(order.slot, desk_.kept(order.slot));
      if (order.add > 0) {
        table_.add(order.slot, static_cast<std::uint64_t>(order.add));
        ++counts_.grants_total;
        counts_.granted_units += static_cast<std::uint64_t>(order.add);
        answer(order.slot, now_ns);
      }
      if (order.drain) {
        const std::uint64_t taken = table_.drain(order.slot);
        counts_.returned_units += taken;
        desk_.drained(order.slot, static_cast<Units>(taken), now_ns);
      }
      if (order.gone) {
        audit(order.slot, now_ns, true);
        table_.wake(order.slot);
        table_.free(order.slot);
        keys_[order.slot] = Key{};
      }
    }
  }
}

// What the server said is shown, and whoever waits looks.
void Quotas::answer(std::uint32_t slot, std::int64_t now_ns) {
  const lease::QuotaDeskView view = desk_.view(slot);
  const std::int64_t until_ns = std::max<std::int64_t>(0, view.ask_after_ns - now_ns);
  table_.publish(slot, view, until_ns == 0 ? 0 : clocks_.mono_ns() + until_ns);
  table_.clear_wanted(slot);
  if (std::exchange(keys_[slot].waited_for, false)) table_.wake(slot);
}

// ---- talking

void Quotas::tick() {
  const std::int64_t now_ns = clocks_.boot_ns();
  if (!desk_.empty()) desk_.withdraw(now_ns);
  if (now_ns >= next_look_ns_) {
    next_look_ns_ = now_ns + kQuotaLookNs;
    look_all(now_ns);
  }
  apply(now_ns);
  talk(now_ns);
}

bool Quotas::busy() const { return clocks_.boot_ns() < busy_until_ns_; }

void Quotas::talk(std::int64_t now_ns) {
  if (session_ == 0) return;
  for (int i = 0; i < kMessagesMax && desk_.next_deadline() <= now_ns; ++i) {
    desk_.next_asks(now_ns, kQuotaAsksMax, asks_);
    apply(now_ns);
    if (asks_.empty()) break;
    asks_message_.Clear();
    asks_message_.set_session(session_);
    for (const lease::QuotaAsk& ask : asks_)
      server::add_to_wire(ask, asks_message_);
    speaker_.say(asks_message_);
  }
  if (usage_.next(now_ns, usage_message_)) {
    usage_message_.set_session(session_);
    speaker_.say(usage_message_);
  }
}

std::int64_t Quotas::due_in_ns() const {
  const std::int64_t now_ns = clocks_.boot_ns();
  std::int64_t due_ns = lease::kNever;
  if (now_ns < busy_until_ns_) due_ns = next_look_ns_;
  if (session_ != 0) due_ns = std::min(due_ns, desk_.next_deadline());
  return due_ns <= now_ns ? 0 : due_ns - now_ns;
}

void Quotas::leave() {
  if (std::exchange(left_, true)) return;
  const std::int64_t now_ns = clocks_.boot_ns();
  table_.set_serving(false);
  for (const std::uint32_t slot : std::vector(table_.in_use())) {
    table_.close(slot);
    look(slot, now_ns);  // what came back since is told with the rest
    audit(slot, now_ns);
    keys_[slot].leaving = true;
  }
  apply(now_ns);
  usage_.hurry();
  desk_.leave(now_ns);
  apply(now_ns);
  talk(now_ns);
  table_.wake_all();
}

// ---- from the server

void Quotas::on_welcome(std::uint64_t session, std::uint64_t agent_epoch) {
  const std::int64_t now_ns = clocks_.boot_ns();
  if (agent_epoch != desk_.agent_epoch()) {
    desk_.new_identity(now_ns, agent_epoch);
    usage_.new_identity(agent_epoch);
  }
  session_ = session;
  usage_.lose_connection();
  apply(now_ns);
  table_.set_serving(!left_);
  table_.wake_all();
  talk(now_ns);
}

void Quotas::on_closed() {
  session_ = 0;
  usage_.lose_connection();
  table_.set_serving(false);
}

void Quotas::on_replies(const v1::QuotaReplies& message) {
  if (session_ == 0 || message.session() != session_) return;
  if (!server::from_wire(message, replies_)) return;
  const std::int64_t now_ns = clocks_.boot_ns();
  desk_.withdraw(now_ns);
  for (lease::QuotaReply& reply : replies_) {
    reply.agent_epoch = desk_.agent_epoch();
    const auto slot = table_.find(reply.key);
    // What processes took in the meantime is known before units are given back.
    if (slot) look(*slot, now_ns);
    const bool waited = slot && desk_.view(*slot).waiting;
    desk_.on_reply(reply, now_ns);
    apply(now_ns);
    if (!slot || !table_.used(*slot)) continue;
    const bool refused = waited && !desk_.view(*slot).waiting && reply.granted == 0;
    if (!refused) continue;
    ++counts_.refused_total;
    answer(*slot, now_ns);
  }
  talk(now_ns);
}

void Quotas::on_pokes(const v1::QuotaPokes& message) {
  if (session_ == 0 || message.session() != session_) return;
  if (!server::from_wire(message, pokes_)) return;
  const std::int64_t now_ns = clocks_.boot_ns();
  for (lease::QuotaPoke& poke : pokes_) {
    poke.agent_epoch = desk_.agent_epoch();
    if (const auto slot = table_.find(poke.key)) look(*slot, now_ns);
    desk_.on_poke(poke, now_ns);
  }
  apply(now_ns);
  talk(now_ns);
}

void Quotas::on_usage_taken(const v1::QuotaUsageTaken& message) {
  usage_.taken(message.batch_no());
  talk(clocks_.boot_ns());
}

std::vector<QuotaKeyView> Quotas::keys() const {
  std::vector<QuotaKeyView> all;
  for (const std::uint32_t slot : table_.in_use()) {
    const auto [name, key] = lease::split_quota_key(table_.joined(slot));
    all.push_back(
        {std::string(name), std::string(key), desk_.view(slot), table_.kept_of(slot).consumed()});
  }
  return all;
}

}  // namespace weir::agent
