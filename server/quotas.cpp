#include "server/quotas.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "net/lease_wire.h"
#include "rules/calendar.h"
#include "server/server_impl.h"
#include "server/wall_clock.h"
#include "server/wire_quota.h"

namespace weir::server {

using lease::TimeNs;

namespace {

constexpr TimeNs kKeeperRetryNs = 5 * lease::kSecond;
constexpr std::size_t kUsagesMax = 200'000;  // agents whose last batch is known

CalendarUnit unit_of(lease::QuotaPeriod period) noexcept {
  if (period == lease::QuotaPeriod::day) return CalendarUnit::day;
  if (period == lease::QuotaPeriod::week) return CalendarUnit::week;
  if (period == lease::QuotaPeriod::month) return CalendarUnit::month;
  return CalendarUnit::none;
}

}  // namespace

// The last batch of audit rows of one agent.
struct SpaceQuotas::Usage {
  lease::SessionId session = 0;
  std::uint64_t taken = 0;     // the last one that is on stable storage
  std::uint64_t batch = 0;     // under way; 0: none
  std::uint64_t position = 0;  // one more than the audit log must have written; 0: it has no room
  std::vector<AuditRow> rows;  // that it has not taken
};

lease::QuotaConfig quota_config(const QuotaRule& rule) {
  lease::QuotaConfig config;
  config.type = rule.kind == QuotaKind::time     ? lease::QuotaType::time
                : rule.kind == QuotaKind::hybrid ? lease::QuotaType::hybrid
                                                 : lease::QuotaType::count;
  config.period = rule.every == QuotaEvery::day     ? lease::QuotaPeriod::day
                  : rule.every == QuotaEvery::week  ? lease::QuotaPeriod::week
                  : rule.every == QuotaEvery::month ? lease::QuotaPeriod::month
                                                    : lease::QuotaPeriod::none;
  config.total = static_cast<lease::Units>(rule.total);
  config.rate_per_min = rule.rate_per_min;
  config.rate_burst = rule.rate_burst;
  config.zone = rule.timezone;
  return config;
}

SpaceQuotas::SpaceQuotas(std::string name_space, QuotaBackend& backend, FindSession find_session,
                         std::uint64_t epoch, TimeNs now_ns)
    : name_space_(std::move(name_space)),
      backend_(backend),
      find_session_(std::move(find_session)),
      epoch_(epoch),
      self_(std::make_shared<SpaceQuotas*>(this)) {
  lease::QuotaBookOptions options;
  options.edge_after = [this](const lease::QuotaConfig& config, std::int64_t wall_ms) {
    return edge_after(config, wall_ms);
  };
  options.terms_of = [this](std::string_view name) -> const lease::QuotaTerms* {
    const auto found = rules_.find(name);
    return found == rules_.end() ? nullptr : &found->second.terms;
  };
  book_ = std::make_unique<lease::QuotaBook>(std::move(options), now_ns);
  book_->set_wall(wall_now_ms(), now_ns);
  keeper_ = std::make_unique<BookKeeper>(*book_, *backend_.store, name_space_, boot_now_ns);
  keeper_->on_reply = [this](const lease::QuotaReply& reply) { reply_to(reply); };
  keeper_->on_result = [this](const lease::QuotaResult& result) {
    const auto found = calls_.find(result.ticket);
    if (found == calls_.end()) return;
    const Done done = std::move(found->second);
    calls_.erase(found);
    done(result);
  };
  keeper_->on_poke = [this](const lease::QuotaPoke& poke) {
    const auto session = session_of_.find(poke.agent_epoch);
    if (session == session_of_.end()) return;
    v1::QuotaPokes& pokes = *pokes_[session->second].mutable_quota_pokes();
    if (pokes.quota_name_size() < net::kQuotaRowsMax) add_to_wire(poke, pokes);
    flush_soon();
  };
  start_keeper();
}

SpaceQuotas::~SpaceQuotas() {
  *self_ = nullptr;
  lease::QuotaResult busy;
  busy.message = "the namespace is not served any more";
  for (const auto& [ticket, done] : std::exchange(calls_, {}))
    done(busy);
}

void SpaceQuotas::start_keeper() {
  keeper_asked_ = true;
  keeper_->start([this](const std::string& why) {
    keeper_asked_ = false;
    keeper_ready_ = why.empty();
    if (keeper_ready_) return;
    keeper_retry_ns_ = boot_now_ns() + kKeeperRetryNs;
    spdlog::error(
        "namespace {}: the agents that hold quotas cannot be read: {}; until they can "
        "be, none is taken for lost",
        name_space_, why);
  });
}

void SpaceQuotas::set_rules(const std::vector<QuotaRule>& rules) {
  rules_.clear();
  for (const QuotaRule& rule : rules) {
    Rule& to = rules_[rule.name];
    to.rule = rule;
    to.terms.chunk_min = static_cast<lease::Units>(rule.chunk_min);
    to.terms.chunk_max = static_cast<lease::Units>(rule.chunk_max);
    to.terms.make_keys = rule.keys == QuotaKeys::any;
    to.terms.config = quota_config(rule);
    to.terms.valid_ms = static_cast<std::int64_t>(rule.valid_ns / 1'000'000);
  }
}

const QuotaRule* SpaceQuotas::rule(std::string_view name) const {
  const auto found = rules_.find(name);
  return found == rules_.end() ? nullptr : &found->second.rule;
}

// A zone whose file is gone since the key was made counts as UTC: a period must have an end.
std::int64_t SpaceQuotas::edge_after(const lease::QuotaConfig& config, std::int64_t wall_ms) {
  if (config.period == lease::QuotaPeriod::none) return 0;
  const std::string name = config.zone.empty() ? "UTC" : config.zone;
  auto zone = zones_.find(name);
  if (zone == zones_.end()) {
    ZoneResult loaded = load_zone(name);
    if (loaded.zone == nullptr) {
      spdlog::error("namespace {}: time zone {}: {}; its quotas' periods follow UTC", name_space_,
                    name, loaded.error);
      loaded = load_zone("UTC");
    }
    zone = zones_.emplace(name, std::move(loaded.zone)).first;
  }
  const std::int64_t wall_s = wall_ms >= 0 ? wall_ms / 1000 : 0;
  return window_at(unit_of(config.period), *zone->second, wall_s).end_wall_s * 1000;
}

// ------------------------------------------------------------------ asks

void SpaceQuotas::on_asks(Session& session, const v1::QuotaAsks& message, bool decide,
                          TimeNs now_ns) {
  if (!from_wire(message, asks_)) return;
  session_of_[session.identity.agent_epoch] = session.id;
  for (lease::QuotaAsk& ask : asks_) {
    ask.agent_epoch = session.identity.agent_epoch;
    ask.host = session.identity.host;
    const lease::Ticket ticket = ++tickets_;
    asked_[ticket] = session.id;
    if (decide) {
      book_->ask(ticket, std::move(ask), now_ns);
      continue;
    }
    lease::QuotaReply busy;
    busy.ticket = ticket;
    busy.key = std::move(ask.key);
    busy.ask_no = ask.ask_no;
    busy.seq = ask.seq;
    reply_to(busy);
  }
  if (!decide) book_->heard(session.identity.agent_epoch, session.identity.host, now_ns);
  keeper_->pump();
}

void SpaceQuotas::reply_to(const lease::QuotaReply& reply) {
  const auto asked = asked_.find(reply.ticket);
  if (asked == asked_.end()) return;
  const lease::SessionId id = asked->second;
  asked_.erase(asked);
  v1::ToAgent& message = replies_[id];
  v1::QuotaReplies& replies = *message.mutable_quota_replies();
  add_to_wire(reply, replies);
  if (replies.quota_name_size() < net::kQuotaRowsMax) return flush_soon();
  replies.set_session(id);
  replies.set_epoch(epoch_);
  send(id, message);
  replies_.erase(id);
}

// Many answers become known in one turn of the loop, when the store has synced: they leave as one
// message a session.
void SpaceQuotas::flush_soon() {
  if (flush_due_) return;
  flush_due_ = true;
  backend_.post([weak = std::weak_ptr<SpaceQuotas*>(self_)] {
    const auto self = weak.lock();
    if (self && *self != nullptr) (*self)->flush();
  });
}

void SpaceQuotas::flush() {
  flush_due_ = false;
  for (auto& [id, message] : std::exchange(replies_, {})) {
    message.mutable_quota_replies()->set_session(id);
    message.mutable_quota_replies()->set_epoch(epoch_);
    send(id, message);
  }
  for (auto& [id, message] : std::exchange(pokes_, {})) {
    message.mutable_quota_pokes()->set_session(id);
    send(id, message);
  }
}

void SpaceQuotas::send(lease::SessionId id, const v1::ToAgent& message) {
  if (Session* session = find_session_(id); session != nullptr && session->welcomed)
    session->connection->send(message);
}

// ------------------------------------------------------------------ usage

void SpaceQuotas::on_usage(Session& session, const v1::QuotaUsage& message) {
  const std::uint64_t agent_epoch = session.identity.agent_epoch;
  if (!usage_.contains(agent_epoch) && usage_.size() >= kUsagesMax) return;  // it asks again
  Usage& usage = usage_[agent_epoch];
  usage.session = session.id;
  const std::uint64_t batch = message.batch_no();
  if (batch <= usage.taken) {
    ++usage_repeated_total_;
    tell_taken(usage);
    return;
  }
  if (usage.batch != 0) return;  // that one first
  std::vector<QuotaUsageRow> rows;
  if (!from_wire(message, rows)) return;
  usage.batch = batch;
  usage.position = 0;
  for (QuotaUsageRow& row : rows) {
    row.event.host = session.identity.host;
    usage.rows.push_back(
        {0, name_space_, std::move(row.key), std::move(row.event), agent_epoch, batch});
  }
  usage_rows_total_ += usage.rows.size();
  usage_due_.push_back(agent_epoch);
  offer_usage();
}

// What finds no room waits here, and its agent with it: one batch is under way at a time.
void SpaceQuotas::offer_usage() {
  for (const std::uint64_t agent_epoch : usage_due_) {
    Usage& usage = usage_.at(agent_epoch);
    if (usage.position != 0) continue;
    const std::size_t count = usage.rows.size();
    if (count != 0 && !backend_.audit->offer(usage.rows)) return;
    backend_.audit_accepted_total += count;
    usage.position = backend_.audit_accepted_total + 1;
    usage.rows.clear();
  }
}

// Rows are written in the order in which they were taken.
void SpaceQuotas::answer_usage() {
  const std::uint64_t written = backend_.audit->audit_stats().written_total;
  std::erase_if(usage_due_, [&](std::uint64_t agent_epoch) {
    Usage& usage = usage_.at(agent_epoch);
    if (usage.position == 0 || written + 1 < usage.position) return false;
    usage.taken = usage.batch;
    usage.batch = usage.position = 0;
    tell_taken(usage);
    return true;
  });
}

void SpaceQuotas::tell_taken(const Usage& usage) {
  v1::ToAgent message;
  message.mutable_quota_usage_taken()->set_session(usage.session);
  message.mutable_quota_usage_taken()->set_batch_no(usage.taken);
  send(usage.session, message);
}

void SpaceQuotas::leave(const Session& session) {
  const auto found = session_of_.find(session.identity.agent_epoch);
  if (found != session_of_.end() && found->second == session.id) session_of_.erase(found);
  replies_.erase(session.id);
  pokes_.erase(session.id);
  // What a new start of the server would have to read in the store as well.
  const auto usage = usage_.find(session.identity.agent_epoch);
  if (usage != usage_.end() && usage->second.batch == 0 && usage_.size() > kUsagesMax / 2)
    usage_.erase(usage);
}

// ------------------------------------------------------------------ time and operators

void SpaceQuotas::poll(TimeNs now_ns) {
  book_->set_wall(wall_now_ms(), now_ns);
  book_->poll(now_ns);
  keeper_->pump();
  if (!keeper_ready_ && !keeper_asked_ && now_ns >= keeper_retry_ns_) start_keeper();
  if (usage_due_.empty()) return;
  offer_usage();
  answer_usage();
}

void SpaceQuotas::change(lease::QuotaChange change, Done done) {
  const lease::Ticket ticket = ++tickets_;
  calls_[ticket] = std::move(done);
  const TimeNs now_ns = boot_now_ns();
  book_->set_wall(wall_now_ms(), now_ns);
  book_->change(ticket, std::move(change), now_ns);
  keeper_->pump();
}

void SpaceQuotas::read(const std::string& key, Done done) {
  const lease::Ticket ticket = ++tickets_;
  calls_[ticket] = std::move(done);
  book_->read(ticket, key, boot_now_ns());
  keeper_->pump();
}

QuotaSpaceStatus SpaceQuotas::status() const {
  QuotaSpaceStatus status;
  status.book = book_->stats();
  status.rules = rules_.size();
  status.usage_rows_total = usage_rows_total_;
  status.usage_repeated_total = usage_repeated_total_;
  return status;
}

}  // namespace weir::server
