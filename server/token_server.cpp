#include "server/token_server.h"

#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "daemon/log/printable.h"
#include "rules/diff.h"
#include "server/access.h"
#include "server/server_impl.h"
#include "server/wall_clock.h"

namespace weir::server {

using lease::TimeNs;

namespace {

constexpr TimeNs kSlowPollNs = 250 * lease::kMs;
constexpr TimeNs kIdlePollNs = lease::kSecond;

std::int64_t read_clock(clockid_t clock) noexcept {
  struct timespec now {};
  ::clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "weir-server";
}

void add(net::ListenerStats& sum, const net::ListenerStats& one) {
  sum.accepted_total += one.accepted_total;
  sum.refused_total += one.refused_total;
  sum.accept_errors_total += one.accept_errors_total;
  sum.handshake_failures_total += one.handshake_failures_total;
  sum.malformed_total += one.malformed_total;
  sum.too_fast_total += one.too_fast_total;
  sum.deadline_total += one.deadline_total;
  sum.overflow_total += one.overflow_total;
  sum.frames_in_total += one.frames_in_total;
  sum.frames_out_total += one.frames_out_total;
  sum.bytes_in_total += one.bytes_in_total;
  sum.bytes_out_total += one.bytes_out_total;
  sum.connections += one.connections;
  if (!one.last_handshake_error.empty()) sum.last_handshake_error = one.last_handshake_error;
}

}  // namespace

TimeNs boot_now_ns() noexcept { return read_clock(CLOCK_BOOTTIME); }
std::uint64_t mono_now_ns() noexcept {
  return static_cast<std::uint64_t>(read_clock(CLOCK_MONOTONIC));
}

TokenServer::Impl::Impl(boost::asio::io_context& io, ServerOptions options)
    : io_(io), options_(std::move(options)), timer_(io), own_uid_(::geteuid()) {
  if (options_.name.empty()) options_.name = host_name();
  quotas_.store = options_.quota_store;
  quotas_.audit = options_.audit;
  quotas_.post = [&io](std::function<void()> call) { boost::asio::post(io, std::move(call)); };
}

void TokenServer::Impl::use_store(QuotaStore& store, AuditLog& audit) {
  if (quotas_.store != nullptr) return;
  quotas_.store = &store;
  quotas_.audit = &audit;
  for (const auto& [name, space] : spaces_)
    space->open_quotas(quotas_, boot_now_ns());
}

SpaceQuotas* TokenServer::Impl::quotas_of(const std::string& name_space, lease::QuotaResult& none) {
  Space* space = find_space(name_space);
  if (space != nullptr && !space->owner() && quotas_.store != nullptr) {
    none.outcome = lease::QuotaChangeOutcome::busy;
    none.message = space->elsewhere();
    return nullptr;
  }
  none.outcome = lease::QuotaChangeOutcome::unknown_key;
  none.message = "the namespace has no quotas";
  return space == nullptr ? nullptr : space->quotas();
}

bool TokenServer::Impl::hosts(const std::string& name_space, std::vector<HostStatus>& hosts) const {
  const auto space = spaces_.find(name_space);
  if (space == spaces_.end()) return false;
  const TimeNs now_ns = boot_now_ns();
  const auto ms_since = [&](TimeNs then_ns) {
    return static_cast<std::uint64_t>(std::max<TimeNs>(0, now_ns - then_ns) / lease::kMs);
  };
  for (const auto& [identity, session] : space->second->by_identity())
    hosts.push_back({identity.host, session->connection->peer().address, session->version,
                     identity.agent_epoch, ms_since(session->since_boot_ns),
                     ms_since(session->heard_boot_ns)});
  return true;
}

StartResult TokenServer::Impl::start(const ServerRules& next) {
  for (const NamespaceRule& rule : next.namespaces)
    if (std::string problem = limits_problem(rule); !problem.empty()) return {std::move(problem)};
  if (std::string error = load_tls(next.tls, "tls", tls_); !error.empty())
    return {std::move(error)};

  store_ = std::make_unique<StateStore>(io_, StateOptions{.dir = next.state_dir});
  StateLoaded state = store_->open();
  if (!state.error.empty()) return {std::move(state.error), true};
  for (const std::string& note : state.notes)
    spdlog::warn("{}", note);
  key_ = options_.claim_key.value_or(state.key);
  epoch_ = state.epoch;
  fresh_ = state.fresh;
  lease_ = next.lease;
  started_boot_ns_ = boot_now_ns();
  for (const NamespaceRule& rule : next.namespaces) {
    // Hosts are stored before they are welcomed: who is not there was never met.
    const bool never_met = state.intact && !state.known.contains(rule.name);
    KnownHosts known = std::move(state.known[rule.name]);
    known.whole = known.whole || never_met;
    open_space(rule, std::move(known), started_boot_ns_);
  }
  store_->commit({});  // the file of this start
  Listeners fresh;
  if (std::string error = make_listeners(next, fresh); !error.empty()) return {std::move(error)};
  listeners_ = std::move(fresh);
  rules = next;
  arm();
  return {};
}

net::ListenerOptions TokenServer::Impl::listener_options(const ServerRules& next) const {
  net::ListenerOptions options;
  options.connections_max = options_.connections_max;
  options.frames_per_s = options_.frames_per_s;
  options.frames_burst = std::max(options.frames_burst, 2 * options_.frames_per_s);
  options.idle_close = std::chrono::milliseconds(next.idle_timeout_ms);
  return options;
}

// Opens what is new in `next`; nothing that is open already is touched.
std::string TokenServer::Impl::make_listeners(const ServerRules& next, Listeners& fresh) {
  for (const std::string& address : next.listen) {
    if (listeners_.contains(address)) continue;
    net::ListenerOptions options = listener_options(next);
    options.addresses = {address};
    options.tls = tls_;
    auto listener = std::make_unique<net::Listener>(io_, std::move(options), *this);
    if (std::string error = listener->listen(); !error.empty()) return error;
    fresh[address] = std::move(listener);
  }
  return {};
}

void TokenServer::Impl::open_space(const NamespaceRule& rule, KnownHosts known, TimeNs now_ns) {
  SpaceOptions options;
  options.epoch = epoch_;
  options.lease = lease_;
  options.key = key_;
  options.known = std::move(known);
  options.reconnect_ns = options_.reconnect_ns;
  if (quotas_.store != nullptr) options.quotas = &quotas_;
  options.elected = options_.elected;
  auto space = std::make_unique<Space>(rule, std::move(options), *store_, now_ns);
  if (space->owner() && space->book().learning()) {
    spdlog::info("namespace {}: learning what hosts hold, for {} ms at most", rule.name,
                 (space->book().learning_end_ns() - now_ns) / lease::kMs);
  }
  spaces_[rule.name] = std::move(space);
}

std::string TokenServer::Impl::apply(const ServerRules& next) {
  const auto fail = [&](std::string why) {
    ++reload_failures_total;
    reload_error = why;
    return why;
  };
  for (const NamespaceRule& rule : next.namespaces)
    if (std::string problem = limits_problem(rule); !problem.empty()) return fail(problem);
  std::shared_ptr<net::TlsContext> tls;
  if (std::string error = load_tls(next.tls, "tls", tls); !error.empty()) return fail(error);
  std::swap(tls_, tls);
  Listeners fresh;
  if (std::string error = make_listeners(next, fresh); !error.empty()) {
    std::swap(tls_, tls);
    return fail(error);
  }

  say_what_waits(next);
  for (const RuleChange& change : diff_rules(rules, next))
    spdlog::info("{}", printable(to_string(change)));
  for (auto& [address, listener] : listeners_) {
    if (std::find(next.listen.begin(), next.listen.end(), address) != next.listen.end()) {
      listener->set_tls(tls_);
      continue;
    }
    listener->stop_accepting();
    listener->for_each([](net::Connection& connection) {
      connection.refuse(v1::REFUSED_STOPPING, "the server does not listen here any more");
    });
    retired_.push_back(std::move(listener));
  }
  std::erase_if(listeners_, [](const auto& each) { return each.second == nullptr; });
  listeners_.merge(fresh);

  const TimeNs now_ns = boot_now_ns();
  std::vector<std::string> gone;
  for (const auto& [name, space] : spaces_) {
    const auto same = [&name = name](const NamespaceRule& rule) { return rule.name == name; };
    if (std::none_of(next.namespaces.begin(), next.namespaces.end(), same)) gone.push_back(name);
  }
  for (const std::string& name : gone)
    close_space(*spaces_.at(name));
  for (const NamespaceRule& rule : next.namespaces) {
    if (Space* space = find_space(rule.name)) {
      space->set_rule(rule, now_ns);
      close_strangers(*space);
    } else {
      open_space(rule, {}, now_ns);
    }
  }
  rules = next;
  rules.lease = lease_;
  ++reloads_total_;
  reload_error.clear();
  arm();
  return {};
}

void TokenServer::Impl::say_what_waits(const ServerRules& next) const {
  const auto say = [](const char* what) {
    spdlog::warn("'{}' has changed; it takes effect with the next start", what);
  };
  if (next.lease != rules.lease) say("lease");
  if (next.state_dir != rules.state_dir) say("state_dir");
  if (next.http != rules.http) say("http");
  if (next.http_tls.enabled != rules.http_tls.enabled) say("http_tls");
  if (next.store != rules.store && quotas_.store != nullptr) say("store");
  if (next.idle_timeout_ms != rules.idle_timeout_ms) say("idle_timeout");
}

void TokenServer::Impl::close_space(Space& space) {
  space.for_each_session([&](Session& session) { space.leave(session); });
  for (const auto& [id, session] : sessions_) {
    if (session->space != &space) continue;
    session->space = nullptr;
    session->connection->refuse(v1::REFUSED_CREDENTIALS,
                                "the namespace is not served here any more");
  }
  const std::string name = space.name();
  spaces_.erase(name);
}

// A credential that was taken away ends what it opened.
void TokenServer::Impl::close_strangers(Space& space) {
  for (const auto& [id, session] : sessions_) {
    if (session->space != &space || still_granted(space.rule().allow, session->connection->peer(),
                                                  session->credential, own_uid_))
      continue;
    space.leave(*session);
    session->connection->refuse(v1::REFUSED_CREDENTIALS, "the credential is not valid any more");
  }
}

void TokenServer::Impl::stop() {
  stopping_ = true;
  for (const auto& [address, listener] : listeners_) {
    listener->stop_accepting();
    listener->for_each([](net::Connection& connection) {
      connection.refuse(v1::REFUSED_STOPPING, "the server stops; come back in a while");
    });
  }
  timer_.cancel();
}

bool TokenServer::Impl::drained() const {
  return sessions_.empty() && (store_ == nullptr || store_->idle());
}

Space* TokenServer::Impl::find_space(const std::string& name) {
  const auto found = spaces_.find(name);
  return found == spaces_.end() ? nullptr : found->second.get();
}

void TokenServer::Impl::redirect(const std::string& name_space, std::vector<std::string> addresses,
                                 const std::string& reason) {
  Space* space = find_space(name_space);
  if (space == nullptr) return;
  space->redirect(std::move(addresses), reason.empty() ? "somebody else owns it" : reason,
                  boot_now_ns());
  if (space->knows_owner()) answer_parked(*space);
}

void TokenServer::Impl::own(const std::string& name_space) {
  Space* space = find_space(name_space);
  if (space != nullptr && !space->owner()) space->redirect({}, {}, boot_now_ns());
}

void TokenServer::Impl::take_over(const std::string& name_space, std::uint64_t epoch,
                                  bool never_met, TimeNs until_ns) {
  Space* space = find_space(name_space);
  if (space == nullptr) return;
  space->take_over(epoch, never_met, until_ns, boot_now_ns());
  answer_parked(*space);
  arm();
}

void TokenServer::Impl::fence(TimeNs until_ns) {
  for (const auto& [name, space] : spaces_)
    if (space->owner()) space->fence(until_ns);
}

void TokenServer::Impl::resume(const std::string& name_space, TimeNs until_ns) {
  Space* space = find_space(name_space);
  if (space == nullptr) return;
  space->resume(until_ns);
  answer_parked(*space);
}

void TokenServer::Impl::raise_epoch(const std::string& name_space, std::uint64_t epoch) {
  if (Space* space = find_space(name_space)) space->raise_epoch(epoch);
}

void TokenServer::Impl::on_open(net::Connection& connection) {
  auto session = std::make_unique<Session>();
  session->connection = &connection;
  connection.user = session.get();
  sessions_[connection.id()] = std::move(session);
  if (sessions_.size() == 1) arm();
}

void TokenServer::Impl::on_closed(net::Connection& connection) {
  const auto found = sessions_.find(connection.id());
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  if (session.space != nullptr) session.space->leave(session);
  sessions_.erase(found);
}

void TokenServer::Impl::on_message(net::Connection& connection, const v1::ToServer& message) {
  Session& session = *static_cast<Session*>(connection.user);
  const auto kind = net::kind_of(message);
  if (kind == net::ToServerKind::hello) {
    on_hello(session, message.hello());
    return;
  }
  if (session.space == nullptr) {
    // A message of a newer kind is passed over, but not in place of a hello.
    refuse(session, Refusal::malformed, v1::REFUSED_MALFORMED, "the first message must be a hello",
           "no hello");
    return;
  }
  if (kind == net::ToServerKind::request) {
    const std::uint64_t start_ns = mono_now_ns();
    session.space->on_request(session, message.request(), boot_now_ns());
    request_times_.add(static_cast<std::int64_t>(mono_now_ns() - start_ns));
  } else if (kind == net::ToServerKind::ack) {
    session.space->on_ack(session, message.ack(), boot_now_ns());
  } else if (kind == net::ToServerKind::goodbye) {
    session.space->on_goodbye(session, message.goodbye(), boot_now_ns());
  } else if (kind == net::ToServerKind::quota_asks) {
    session.space->on_quota_asks(session, message.quota_asks(), boot_now_ns());
  } else if (kind == net::ToServerKind::permit_reports) {
    session.space->on_permit_reports(session, message.permit_reports(), boot_now_ns());
  } else if (kind == net::ToServerKind::quota_usage) {
    session.space->on_quota_usage(session, message.quota_usage(), boot_now_ns());
  } else if (kind == net::ToServerKind::cluster_query) {
    on_query(session, message.cluster_query());
  }
}

// Often while anybody is connected, now and then otherwise.
void TokenServer::Impl::arm() {
  if (stopping_) return;
  const bool busy = !sessions_.empty();
  timer_.expires_after(std::chrono::nanoseconds(busy ? lease::Book::kPollNs : kIdlePollNs));
  timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    static_cast<Impl&>(*self).on_poll();
  });
}

void TokenServer::Impl::on_poll() {
  const TimeNs now_ns = boot_now_ns();
  for (const auto& [name, space] : spaces_) {
    if (!space->idle()) space->poll(now_ns);
    if (space->quotas() != nullptr) space->quotas()->poll(now_ns);
  }
  if (now_ns >= next_slow_boot_ns_) on_slow_poll(now_ns);
  arm();
}

void TokenServer::Impl::on_slow_poll(TimeNs now_ns) {
  next_slow_boot_ns_ = now_ns + kSlowPollNs;
  store_->poll();
  const StateStats& state = store_->stats();
  if (state.degraded != state_degraded_said_) {
    state_degraded_said_ = state.degraded;
    if (state.degraded)
      spdlog::error("{}: {}; leases go on from memory, and the next start learns for its full time",
                    rules.state_dir, state.last_error);
    else
      spdlog::info("{}: written again", rules.state_dir);
  }
  std::erase_if(retired_, [&](const auto& listener) {
    if (listener->stats().connections != 0) return false;
    add(retired_stats_, listener->stats());
    return true;
  });
  if (now_ns >= next_sample_boot_ns_) {
    next_sample_boot_ns_ = now_ns + lease::kSecond;
    for (const auto& [name, space] : spaces_)
      space->sample(now_ns);
    if (quotas_.audit != nullptr) quotas_.audit->tick(wall_now_ms());
  }
  net::ListenerStats sum;
  for (const auto& [address, listener] : listeners_)
    add(sum, listener->stats());
  if (sum.handshake_failures_total <= handshake_failures_seen_) {
    handshake_failures_seen_ = sum.handshake_failures_total;
    return;
  }
  handshake_failures_seen_ = sum.handshake_failures_total;
  if (const auto verdict = limiter_.admit("tls", mono_now_ns()))
    spdlog::warn("no TLS with {}{}", printable(sum.last_handshake_error), verdict.suffix());
}

std::vector<std::string> TokenServer::Impl::addresses() const {
  std::vector<std::string> all;
  for (const auto& [address, listener] : listeners_)
    for (std::string& each : listener->addresses())
      all.push_back(std::move(each));
  return all;
}

ServerStatus TokenServer::Impl::status(bool with_limits) const {
  const TimeNs now_ns = boot_now_ns();
  ServerStatus status;
  status.name = options_.name;
  status.version = options_.version;
  status.addresses = addresses();
  status.epoch = epoch_;
  status.uptime_ms = static_cast<std::uint64_t>((now_ns - started_boot_ns_) / lease::kMs);
  status.connections = sessions_.size();
  status.refused_total = refused_total_;
  status.reloads_total = reloads_total_;
  status.reload_failures_total = reload_failures_total;
  status.reload_error = reload_error;
  if (tls_) status.certificate_seconds_left = net::certificate_seconds_left(*tls_);
  if (store_) status.state = store_->stats();
  if (quotas_.store != nullptr) {
    status.quota_store = quotas_.store->stats();
    status.audit = quotas_.audit->audit_stats();
    status.clean = quotas_.audit->clean_stats();
  }
  status.listeners = retired_stats_;
  for (const auto& [address, listener] : listeners_)
    add(status.listeners, listener->stats());
  status.request_times = request_times_;
  std::size_t limits = 0;
  for (const auto& [name, space] : spaces_) {
    status.spaces.push_back(space->status(now_ns, with_limits && limits < kStatusLimitsMax));
    limits += status.spaces.back().limits.size() + status.spaces.back().permits.size();
  }
  return status;
}

TokenServer::TokenServer(boost::asio::io_context& io, ServerOptions options)
    : impl_(std::make_shared<Impl>(io, std::move(options))) {}
TokenServer::~TokenServer() = default;
StartResult TokenServer::start(const ServerRules& rules) { return impl_->start(rules); }
std::string TokenServer::apply(const ServerRules& rules) { return impl_->apply(rules); }
void TokenServer::stop() { impl_->stop(); }
bool TokenServer::drained() const { return impl_->drained(); }
void TokenServer::redirect(const std::string& name_space, std::vector<std::string> addresses,
                           const std::string& reason) {
  impl_->redirect(name_space, std::move(addresses), reason);
}
void TokenServer::own(const std::string& name_space) { impl_->own(name_space); }
void TokenServer::take_over(const std::string& name_space, std::uint64_t epoch, bool never_met,
                            std::int64_t until_boot_ns) {
  impl_->take_over(name_space, epoch, never_met, until_boot_ns);
}
void TokenServer::fence(std::int64_t until_boot_ns) { impl_->fence(until_boot_ns); }
void TokenServer::resume(const std::string& name_space, std::int64_t until_boot_ns) {
  impl_->resume(name_space, until_boot_ns);
}
void TokenServer::raise_epoch(const std::string& name_space, std::uint64_t epoch) {
  impl_->raise_epoch(name_space, epoch);
}
std::vector<std::string> TokenServer::addresses() const { return impl_->addresses(); }
const ServerRules& TokenServer::rules() const { return impl_->rules; }
ServerStatus TokenServer::status(bool with_limits) const { return impl_->status(with_limits); }
bool TokenServer::hosts(const std::string& name_space, std::vector<HostStatus>& hosts) const {
  return impl_->hosts(name_space, hosts);
}
void TokenServer::use_store(QuotaStore& store, AuditLog& audit) { impl_->use_store(store, audit); }
void TokenServer::quota_change(const std::string& name_space, lease::QuotaChange change,
                               QuotaDone done) {
  lease::QuotaResult none;
  if (SpaceQuotas* quotas = impl_->quotas_of(name_space, none))
    return quotas->change(std::move(change), std::move(done));
  done(none);
}
void TokenServer::quota_read(const std::string& name_space, const std::string& key,
                             QuotaDone done) {
  lease::QuotaResult none;
  if (SpaceQuotas* quotas = impl_->quotas_of(name_space, none))
    return quotas->read(key, std::move(done));
  done(none);
}
void TokenServer::note_reload_failure(const std::string& why) {
  ++impl_->reload_failures_total;
  impl_->reload_error = why;
}

}  // namespace weir::server
