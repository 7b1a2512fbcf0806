#include "server/space.h"

#include <spdlog/spdlog.h>

#include <cstring>
#include <span>
#include <utility>

#include "net/lease_wire.h"
#include "net/secret.h"
#include "server/server_impl.h"
#include "server/wire.h"
#include "server/wire_quota.h"

namespace weir::server {

using lease::TimeNs;

namespace {

// How much of new rules leaves in one poll, so that heartbeats go on between.
constexpr std::size_t kSliceSessions = 256;
constexpr std::size_t kSliceBytes = 8U << 20;
constexpr TimeNs kPushHostsAgeNs = lease::kSecond;
// An owner that is gone is replaced by then.
constexpr TimeNs kComesBackNs = 4 * lease::kSecond;
constexpr std::size_t kSentAwayMax = 200'000;

// Over everything that a claim says, and who says it, and where.
lease::Prove prover(const std::array<unsigned char, 16>& key, const std::string& name_space) {
  const std::uint64_t place = net::mac64(key, std::as_bytes(std::span(name_space)));
  return [key, place](const lease::Identity& identity, lease::LimitId limit,
                      const lease::Terms& terms) {
    std::array<std::byte, 56 + kHostNameBytesMax> bytes;
    const std::uint64_t numbers[] = {place,
                                     identity.agent_epoch,
                                     limit,
                                     static_cast<std::uint64_t>(terms.rate),
                                     static_cast<std::uint64_t>(terms.burst),
                                     static_cast<std::uint64_t>(terms.tail_rate),
                                     static_cast<std::uint64_t>(terms.tail_burst)};
    static_assert(sizeof(numbers) == 56);
    std::memcpy(bytes.data(), numbers, sizeof(numbers));
    const std::size_t host_bytes = std::min(identity.host.size(), kHostNameBytesMax);
    std::memcpy(bytes.data() + sizeof(numbers), identity.host.data(), host_bytes);
    return net::mac64(key, std::span(bytes).first(sizeof(numbers) + host_bytes));
  };
}

}  // namespace

Space::Space(const NamespaceRule& rule, SpaceOptions options, StateStore& store, TimeNs now_ns)
    : rule_(rule), options_(std::move(options)), store_(store), guard_(rule.guard) {
  if (options_.elected) {
    redirect_reason_ = "it is not known yet who owns the namespace";
    options_.known = {};
    options_.known.whole = true;  // there is nothing to learn before it is ours
  }
  make_book(options_.epoch, now_ns);
  make_quotas(now_ns);
}

void Space::make_quotas(TimeNs now_ns) {
  if (options_.quotas == nullptr || !owner()) return;
  quotas_ = std::make_unique<SpaceQuotas>(
      rule_.name, *options_.quotas,
      [this](lease::SessionId id) {
        const auto found = by_session_.find(id);
        return found == by_session_.end() ? nullptr : found->second;
      },
      book_->epoch(), now_ns);
  quotas_->set_rules(rule_.quotas);
  quotas_->fence(fence_ns_);
}

void Space::open_quotas(QuotaBackend& backend, TimeNs now_ns) {
  if (quotas_) return;
  options_.quotas = &backend;
  make_quotas(now_ns);
}

void Space::make_book(std::uint64_t epoch, TimeNs now_ns) {
  lease::BookOptions options;
  options.epoch = epoch;
  options.ttl_ns = static_cast<TimeNs>(options_.lease.ttl_ns);
  options.tail_ns = static_cast<TimeNs>(options_.lease.tail_ns);
  options.refresh_ns = static_cast<TimeNs>(options_.lease.refresh_ns);
  options.requests_per_s = std::max(1U, rule_.guard / 3 * 2);
  options.prove = prover(options_.key, rule_.name);
  const KnownHosts& known = options_.known;
  // Where nobody was ever met and forgotten again, nobody holds anything.
  options.reconnect_ns = options_.reconnect_ns;
  options.learn = !known.whole || !known.identities.empty();
  if (known.whole) options.known.assign(known.identities.begin(), known.identities.end());
  book_ = std::make_unique<lease::Book>(std::move(options), now_ns);
  book_->set_fence(fence_ns_);
  learning_ = book_->learning();
  heard_.clear();
  permits_ = std::make_unique<SpacePermits>(
      options_.lease,
      [this](lease::SessionId id) {
        const auto found = by_session_.find(id);
        return found == by_session_.end() ? nullptr : found->second;
      },
      now_ns);
  permits_->set_rules(rule_.permits, now_ns);
  // Until it has learned, only a list that was whole before may be believed by the next start.
  if (!options_.elected) store_.set_whole(rule_.name, known.whole);
  set_limits(now_ns);
}

void Space::set_limits(TimeNs now_ns) {
  std::string why;
  if (!book_->set_limits(limit_configs(rule_.limits), now_ns, why))
    spdlog::error("namespace {}: {}", rule_.name, why);  // was checked before; nothing changed
  push_ = rules_push(rule_.limits, push_hosts_);
  rule_by_name_.clear();
  for (const LimitRule& limit : rule_.limits)
    rule_by_name_.emplace(limit.name, &limit);
}

void Space::set_rule(const NamespaceRule& rule, TimeNs now_ns) {
  const std::uint64_t before = push_.version;
  rule_ = rule;
  guard_.set(rule.guard);
  if (quotas_) quotas_->set_rules(rule.quotas);
  permits_->set_rules(rule.permits, now_ns);
  set_limits(now_ns);
  if (push_.version == before) return;
  to_update_.clear();
  for (const auto& [id, session] : by_session_)
    to_update_.push_back(id);
}

void Space::redirect(std::vector<std::string> addresses, std::string reason, TimeNs now_ns) {
  const bool was_owner = owner();
  if (addresses != redirect_to_) sent_away_.clear();
  redirect_to_ = std::move(addresses);
  redirect_reason_ = std::move(reason);
  if (owner()) {
    // What another server granted is known to the agents alone.
    if (!was_owner) {
      options_.known = {};
      fence_ns_ = lease::kNever;
      make_book(book_->epoch() + 1, now_ns);
      make_quotas(now_ns);  // what another server did to them stands in the store
    }
    return;
  }
  fence(now_ns);
  const auto sessions = by_session_;
  for (const auto& [id, session] : sessions) {
    send_redirect(*session->connection);
    leave(*session);
  }
}

std::string Space::elsewhere() const {
  if (owner()) return {};
  std::string text = "this server does not own the namespace: " + redirect_reason_;
  for (std::size_t i = 0; i < redirect_to_.size(); ++i)
    text += (i == 0 ? "; its owner is at " : ", ") + redirect_to_[i];
  return text;
}

void Space::take_over(std::uint64_t epoch, bool never_met, TimeNs until_ns, TimeNs now_ns) {
  redirect_to_.clear();
  redirect_reason_.clear();
  sent_away_.clear();
  never_met_ = never_met;
  // What the owners before it granted is known to the agents alone.
  options_.known = {};
  options_.known.whole = never_met;
  fence_ns_ = until_ns;
  make_book(epoch, now_ns);
  make_quotas(now_ns);
}

void Space::fence(TimeNs until_ns) {
  fence_ns_ = until_ns;
  book_->set_fence(until_ns);
  if (quotas_) quotas_->fence(until_ns);
}

void Space::resume(TimeNs until_ns) {
  fence(until_ns);
  redirect_to_.clear();
  redirect_reason_.clear();
  sent_away_.clear();
}

bool Space::came_back(const std::string& host, TimeNs now_ns) {
  if (sent_away_.size() >= kSentAwayMax) sent_away_.clear();
  TimeNs& sent_ns = sent_away_[host];
  const bool back = sent_ns != 0 && now_ns - sent_ns < kComesBackNs;
  sent_ns = back ? sent_ns : now_ns;
  return back;
}

void Space::send_redirect(net::Connection& connection) const {
  v1::ToAgent message;
  for (const std::string& address : redirect_to_)
    message.mutable_redirect()->add_addresses(address);
  message.mutable_redirect()->set_reason(redirect_reason_);
  connection.close_after_send(message);
}

bool Space::distrust_known(std::uint64_t epoch, TimeNs now_ns, bool even_when_sure) {
  if (!even_when_sure && (!learning_ || !options_.known.whole || options_.known.identities.empty()))
    return false;
  options_.known.whole = false;
  make_book(epoch, now_ns);
  const auto sessions = by_session_;
  for (const auto& [id, session] : sessions) {
    session->connection->close("the server begins to learn anew");
    leave(*session);
  }
  return true;
}

Space::Greeted Space::greet(Session& session, const lease::Hello& hello, TimeNs now_ns) {
  ++counts_.hellos_total;
  const auto greeting = book_->hello(hello, now_ns);
  if (!greeting) {
    const bool room = book_->hosts() < lease::BookOptions{}.hosts_max;
    return room ? Greeted::ignored : Greeted::full;
  }
  leave(session);
  session.space = this;
  session.welcome = greeting->welcome;
  session.welcomed = false;
  session.identity = {hello.host, hello.agent_epoch};
  session.since_boot_ns = session.heard_boot_ns = now_ns;
  if (greeting->welcome.new_identity) {
    ++counts_.new_identities_total;
    return Greeted::yes;
  }
  session.id = greeting->welcome.session;
  if (!options_.elected) remember(session.identity, *greeting);
  Session*& place = by_identity_[session.identity];
  if (place != nullptr && place != &session) {
    ++counts_.replaced_total;
    Session& older = *place;
    older.connection->close("a newer connection of this host took its place");
    leave(older);
  }
  by_identity_[session.identity] = &session;
  by_session_[session.id] = &session;
  // Now, not with the welcome, which waits for the disk: with this hello the book may have learned
  // all, and what this host holds of the permits has to be waited for all the same.
  permits_->join(session, now_ns);
  return Greeted::yes;
}

void Space::remember(const lease::Identity& identity, const lease::Book::Greeting& greeting) {
  if (greeting.remember) {
    store_.remember(rule_.name, identity);
    if (learning_) heard_.insert(identity);
  }
  if (greeting.mark) {
    store_.remember(rule_.name, *greeting.mark);
    if (learning_) heard_.insert(*greeting.mark);
  }
  if (greeting.unmark) store_.forget(rule_.name, *greeting.unmark);
}

void Space::welcome(Session& session, const std::string& server_name, const std::string& version) {
  v1::ToAgent message;
  v1::Welcome& out = *message.mutable_welcome();
  to_wire(session.welcome, out);
  out.set_server(server_name);
  out.set_version(version);
  out.set_namespace_name(rule_.name);
  out.set_protocol_minor(net::kProtocolMinor);
  session.welcomed = true;
  session.connection->send(message);
  if (session.welcome.new_identity) return;
  if (session.rules_version != push_.version) send_rules(session, session.since_boot_ns);
}

void Space::leave(Session& session) {
  if (session.id == 0) return;
  const auto id = by_session_.find(session.id);
  if (id != by_session_.end() && id->second == &session) by_session_.erase(id);
  const auto identity = by_identity_.find(session.identity);
  if (identity != by_identity_.end() && identity->second == &session) by_identity_.erase(identity);
  if (quotas_) quotas_->leave(session);
  permits_->leave(session, boot_now_ns());
  session.id = 0;
}

void Space::on_request(Session& session, const v1::Request& message, TimeNs now_ns) {
  session.heard_boot_ns = now_ns;
  // A session is its connection's: nobody speaks for another.
  if (message.session() != session.id || session.id == 0 || !from_wire(message, request_)) {
    ++counts_.ignored_total;
    return;
  }
  const bool decide = guard_.admit(now_ns);
  const lease::Answer* answer =
      decide ? book_->request(request_, now_ns) : book_->busy(request_, now_ns);
  if (answer == nullptr) {
    ++counts_.ignored_total;
    if (book_->knows(session.id)) return;
    // It was silent for so long that nothing is known of it; a hello begins anew.
    leave(session);
    session.connection->close("the session has ended");
    return;
  }
  ++counts_.requests_total;
  if (answer->busy) ++counts_.busy_total;
  counts_.grants_total += answer->grants.size();
  to_wire(*answer, *answer_message_.mutable_answer());
  session.connection->send(answer_message_);
}

void Space::on_ack(Session& session, const v1::Ack& message, TimeNs now_ns) {
  if (message.session() != session.id || session.id == 0) return;
  lease::Ack ack;
  from_wire(message, ack);
  book_->ack(ack, now_ns);
}

void Space::on_goodbye(Session& session, const v1::Goodbye& message, TimeNs now_ns) {
  if (message.session() != session.id || session.id == 0) return;
  lease::Goodbye goodbye;
  from_wire(message, goodbye);
  book_->goodbye(goodbye, now_ns);
  leave(session);
}

void Space::on_quota_asks(Session& session, const v1::QuotaAsks& message, TimeNs now_ns) {
  session.heard_boot_ns = now_ns;
  if (message.session() != session.id || session.id == 0 || !session.welcomed) {
    ++counts_.ignored_total;
    return;
  }
  if (quotas_) return quotas_->on_asks(session, message, guard_.admit(now_ns), now_ns);
  std::vector<lease::QuotaAsk> asks;
  if (!from_wire(message, asks)) return;
  v1::ToAgent answer;
  for (const lease::QuotaAsk& ask : asks) {
    lease::QuotaReply reply;
    reply.key = ask.key;
    reply.ask_no = ask.ask_no;
    reply.seq = ask.seq;
    reply.outcome = lease::QuotaOutcome::unknown_key;
    add_to_wire(reply, *answer.mutable_quota_replies());
  }
  answer.mutable_quota_replies()->set_session(session.id);
  answer.mutable_quota_replies()->set_epoch(book_->epoch());
  session.connection->send(answer);
}

void Space::on_quota_usage(Session& session, const v1::QuotaUsage& message, TimeNs now_ns) {
  session.heard_boot_ns = now_ns;
  const bool ours = message.session() == session.id && session.id != 0 && session.welcomed;
  if (!ours || !quotas_ || !guard_.admit(now_ns)) return;  // it is sent again
  quotas_->on_usage(session, message);
}

void Space::on_permit_reports(Session& session, const v1::PermitReports& message, TimeNs now_ns) {
  session.heard_boot_ns = now_ns;
  const bool ours = message.session() == session.id && session.id != 0 && session.welcomed;
  if (!ours || now_ns >= fence_ns_ || !permits_->on_reports(session, message, now_ns))
    ++counts_.ignored_total;
}

void Space::poll(TimeNs now_ns) {
  book_->poll(now_ns, due_);
  // A cap that was raised is a grant like any other.
  if (now_ns < fence_ns_) permits_->poll(book_->learning(), now_ns);
  for (const lease::SessionId id : due_.poke) {
    const auto found = by_session_.find(id);
    if (found == by_session_.end() || !found->second->welcomed) continue;
    ++counts_.pokes_total;
    poke_message_.mutable_poke()->set_session(id);
    found->second->connection->send(poke_message_);
  }
  if (!options_.elected) forget(due_.forgotten);
  if (learning_ && !book_->learning()) end_learning();
  send_rules_slice(now_ns);
}

void Space::forget(const std::vector<lease::Identity>& identities) {
  for (const lease::Identity& identity : identities) {
    store_.forget(rule_.name, identity);
    heard_.erase(identity);
  }
  if (!identities.empty()) store_.commit({});
}

// Whoever was known before and has not come by now holds nothing any more.
void Space::end_learning() {
  learning_ = false;
  for (const lease::Identity& identity : options_.known.identities)
    if (!heard_.contains(identity)) store_.forget(rule_.name, identity);
  if (!options_.elected) {
    store_.set_whole(rule_.name, true);
    store_.commit({});
  }
  heard_.clear();
  options_.known = {};
  spdlog::info("namespace {}: learned what {} host(s) hold", rule_.name, book_->hosts());
}

const RulesPush& Space::push(TimeNs now_ns) {
  const auto hosts = static_cast<std::uint32_t>(book_->hosts());
  if (hosts != push_hosts_ && now_ns - push_boot_ns_ >= kPushHostsAgeNs) {
    push_hosts_ = hosts;
    push_boot_ns_ = now_ns;
    push_ = rules_push(rule_.limits, hosts);
  }
  return push_;
}

void Space::send_rules(Session& session, TimeNs now_ns) {
  const RulesPush& rules = push(now_ns);
  session.rules_version = rules.version;
  ++counts_.rules_sent_total;
  for (const std::string& frame : rules.frames)
    if (!session.connection->send_frame(frame)) return;
}

void Space::send_rules_slice(TimeNs now_ns) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < kSliceSessions && bytes < kSliceBytes && !to_update_.empty(); ++i) {
    const auto found = by_session_.find(to_update_.front());
    to_update_.pop_front();
    if (found == by_session_.end()) continue;
    Session& session = *found->second;
    // One that is not welcomed yet gets them with its welcome.
    if (!session.welcomed || session.rules_version == push_.version) continue;
    send_rules(session, now_ns);
    bytes += push_.bytes;
  }
}

void Space::for_each_session(const std::function<void(Session&)>& visit) {
  const auto sessions = by_session_;
  for (const auto& [id, session] : sessions)
    visit(*session);
}

void Space::sample(TimeNs now_ns) {
  const TimeNs elapsed_ns = now_ns - sampled_boot_ns_;
  const bool first = sampled_boot_ns_ == 0;
  sampled_boot_ns_ = now_ns;
  const auto per_s = [&](std::uint64_t more) {
    const auto tokens = static_cast<lease::Micro>(std::min<std::uint64_t>(more, 1ULL << 40));
    return elapsed_ns <= 0 || first
               ? 0
               : lease::mul_div(tokens * lease::kToken, lease::kSecond, elapsed_ns);
  };
  requests_per_s_ =
      static_cast<std::uint64_t>(per_s(counts_.requests_total - sampled_requests_) / lease::kToken);
  sampled_requests_ = counts_.requests_total;
  if (by_session_.empty() && requests_per_s_ == 0) {
    rates_.clear();
    return;
  }
  for (const lease::Book::LimitReport& limit : book_->limits(now_ns)) {
    const auto [at, fresh] = rates_.try_emplace(limit.id);
    Rate& rate = at->second;
    rate.spent_per_s = fresh ? 0 : per_s(limit.spent_total - rate.spent);
    rate.refused_per_s = fresh ? 0 : per_s(limit.refused_total - rate.refused);
    rate.spent = limit.spent_total;
    rate.refused = limit.refused_total;
  }
}

LimitStatus Space::limit_status(lease::Book::LimitReport report) const {
  LimitStatus status;
  if (const auto rate = rates_.find(report.id); rate != rates_.end()) {
    status.spent_per_s = rate->second.spent_per_s;
    status.refused_per_s = rate->second.refused_per_s;
  }
  if (const auto rule = rule_by_name_.find(report.name); rule != rule_by_name_.end()) {
    status.per_host = rule->second->cluster.threshold == LimitThreshold::per_host;
    status.parent = rule->second->cluster.parent;
    status.band = rule->second->cluster.band;
  }
  status.report = std::move(report);
  return status;
}

SpaceStatus Space::status(TimeNs now_ns, bool with_limits) const {
  SpaceStatus status;
  status.name = rule_.name;
  status.owner = owner();
  status.learning = book_->learning();
  if (status.learning)
    status.learning_left_ms = static_cast<std::uint64_t>(
        std::max<TimeNs>(0, book_->learning_end_ns() - now_ns) / lease::kMs);
  status.epoch = book_->epoch();
  status.rules_version = push_.version;
  status.guard = rule_.guard;
  status.sessions = by_session_.size();
  status.hosts = book_->hosts();
  status.refresh_ns = book_->refresh_ns();
  status.ttl_ns = book_->ttl_ns();
  status.tail_ns = book_->tail_ns();
  status.requests_per_s = requests_per_s_;
  status.counts = counts_;
  if (quotas_) status.quotas = quotas_->status();
  status.limit_count = rule_.limits.size();
  if (!with_limits) return status;
  status.permits = permits_->status();
  for (lease::Book::LimitReport& limit : book_->limits(now_ns))
    status.limits.push_back(limit_status(std::move(limit)));
  return status;
}

}  // namespace weir::server
