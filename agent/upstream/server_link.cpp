#include "agent/upstream/server_link.h"

#include <spdlog/spdlog.h>

#include <chrono>

#include "daemon/log/printable.h"
#include "net/lease_wire.h"
#include "rules/file.h"
#include "server/permits.h"
#include "server/wire.h"
#include "server/wire_permit.h"

namespace weir::agent {

ServerLink::ServerLink(boost::asio::io_context& io, ServerLinkOptions options)
    : io_(io), options_(std::move(options)) {
  net::LinkOptions link;
  link.addresses = options_.addresses;
  // Where there are several servers, the end of one is no sign that all of them have too much to
  // do: whoever was served by it comes to the next one without delay.
  if (options_.addresses.size() > 1) link.stable_after = std::chrono::seconds(1);
  link_ = std::make_unique<net::Link>(
      io_, std::move(link),
      net::LinkCallbacks{.on_open = [this] { on_open(); },
                         .on_message = [this](const v1::ToAgent& message) { on_message(message); },
                         .on_closed = [this](const std::string& reason) { on_closed(reason); },
                         .on_failed = [this](const std::string& reason) { on_failed(reason); }});
}

ServerLink::~ServerLink() = default;

std::string ServerLink::start(Upstream& upstream, std::function<void(PushedRules)> on_rules) {
  upstream_ = &upstream;
  on_rules_ = std::move(on_rules);
  if (options_.tls.enabled) {
    net::TlsOptions tls;
    tls.certificate_file = options_.tls.certificate;
    tls.key_file = options_.tls.key;
    tls.ca_file = options_.tls.ca;
    tls.server_name = options_.tls.server_name;
    auto loaded = net::load_tls(tls, net::TlsRole::client);
    if (!loaded) return loaded.error().text;
    link_->set_tls(*loaded);
  }
  link_->start();
  return {};
}

void ServerLink::close() {
  link_->close();
  while (!queries_.empty())
    finish(queries_.begin()->first, "the agent stops", v1::ClusterReport());
}

// Read anew for each hello: a credential may have been replaced since.
std::string ServerLink::read_token() {
  if (options_.token_file.empty()) return {};
  const FileText file = read_file(options_.token_file, net::kTokenBytesMax + 2);
  if (!file.error.empty()) {
    spdlog::error("token_file {} {}", printable(options_.token_file), file.error);
    return {};
  }
  std::string token = file.text;
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r'))
    token.pop_back();
  return token;
}

// ---- what is said

void ServerLink::say(const lease::Hello& hello) {
  message_.Clear();
  v1::Hello& out = *message_.mutable_hello();
  server::to_wire(hello, out);
  out.set_protocol_major(net::kProtocolMajor);
  out.set_protocol_minor(net::kProtocolMinor);
  out.set_version(options_.version);
  out.set_namespace_name(options_.name_space);
  out.set_token(read_token());
  out.set_rules_version(rules_version_);
  link_->send(message_);
  message_.Clear();  // the token stays nowhere
}

void ServerLink::say(const lease::Request& request) {
  message_.clear_hello();
  message_.clear_ack();
  message_.clear_goodbye();
  message_.clear_cluster_query();
  server::to_wire(request, *message_.mutable_request());
  link_->send(message_);
}

void ServerLink::say(const lease::Ack& ack) {
  v1::ToServer message;
  server::to_wire(ack, *message.mutable_ack());
  link_->send(message);
}

void ServerLink::say(const lease::Goodbye& goodbye) {
  v1::ToServer message;
  server::to_wire(goodbye, *message.mutable_goodbye());
  link_->send(message);
}

void ServerLink::say(const lease::PermitReport& report) {
  v1::ToServer message;
  server::to_wire(report, *message.mutable_permit_reports());
  link_->send(message);
}

void ServerLink::say(v1::QuotaAsks& asks) {
  v1::ToServer message;
  message.mutable_quota_asks()->Swap(&asks);
  link_->send(message);
  message.mutable_quota_asks()->Swap(&asks);
}

void ServerLink::say(v1::QuotaUsage& usage) {
  v1::ToServer message;
  message.mutable_quota_usage()->Swap(&usage);
  link_->send(message);
  message.mutable_quota_usage()->Swap(&usage);
}

void ServerLink::set_quotas(Quotas* quotas) {
  quotas_ = quotas;
  welcome_quotas();
}

// A session is what quotas are asked under; a server of an older protocol knows none.
void ServerLink::welcome_quotas() {
  if (quotas_ == nullptr || !serves_quotas_ || !upstream_->connected()) return;
  quotas_->on_welcome(upstream_->desk().session(), upstream_->desk().agent_epoch());
}

void ServerLink::go_elsewhere(const std::string& why) { link_->reconnect(why); }

// ---- what is heard

void ServerLink::on_open() {
  assembler_.reset();
  serves_quotas_ = false;
  upstream_->on_open();
}

void ServerLink::on_message(const v1::ToAgent& message) {
  const auto kind = net::kind_of(message);
  // Who sends us away grants nothing to anybody, and servers that send us to and fro must not put
  // the fallback off for ever.
  if (kind != net::ToAgentKind::redirect) upstream_->heard();
  switch (kind) {
    case net::ToAgentKind::welcome: {
      lease::Welcome welcome;
      server::from_wire(message.welcome(), welcome);
      server_name_ = message.welcome().server();
      server_version_ = message.welcome().version();
      if (!said_.empty()) spdlog::info("the token server {} is there", link_->stats().address);
      said_.clear();
      serves_quotas_ = message.welcome().protocol_minor() >= 1;
      upstream_->on_welcome(welcome);
      if (permits_ != nullptr && upstream_->connected())
        permits_->on_welcome(welcome.session,
                             message.welcome().protocol_minor() >= server::kPermitsMinor,
                             upstream_->heard_ns());
      welcome_quotas();
      break;
    }
    case net::ToAgentKind::answer:
      if (server::from_wire(message.answer(), answer_)) upstream_->on_answer(answer_);
      break;
    case net::ToAgentKind::poke: {
      lease::Poke poke;
      server::from_wire(message.poke(), poke);
      upstream_->on_poke(poke);
      break;
    }
    case net::ToAgentKind::rules:
      if (auto rules = assembler_.take(message.rules())) {
        rules_version_ = rules->version;
        on_rules_(std::move(*rules));
      }
      break;
    case net::ToAgentKind::redirect:
      on_redirect(message.redirect());
      break;
    case net::ToAgentKind::refused: {
      upstream_->on_refused();
      const std::string text = printable(message.refused().text());
      if (text != said_) spdlog::error("the token server refuses this agent: {}", text);
      said_ = text;
      break;
    }
    case net::ToAgentKind::quota_replies:
      if (quotas_ != nullptr) quotas_->on_replies(message.quota_replies());
      break;
    case net::ToAgentKind::quota_pokes:
      if (quotas_ != nullptr) quotas_->on_pokes(message.quota_pokes());
      break;
    case net::ToAgentKind::quota_usage_taken:
      if (quotas_ != nullptr) quotas_->on_usage_taken(message.quota_usage_taken());
      break;
    case net::ToAgentKind::permit_grants:
      if (permits_ != nullptr && server::from_wire(message.permit_grants(), permit_grants_))
        permits_->on_grants(permit_grants_, upstream_->heard_ns());
      break;
    case net::ToAgentKind::cluster_report:
      on_report(message.cluster_report());
      break;
    case net::ToAgentKind::pong:
    case net::ToAgentKind::none:
      break;
  }
}

void ServerLink::on_redirect(const v1::Redirect& redirect) {
  std::vector<std::string> addresses(redirect.addresses().begin(), redirect.addresses().end());
  const std::string reason = printable(redirect.reason());
  if (addresses.empty() || !link_->redirect(addresses, reason))
    link_->reconnect("asked to come back later: " + reason);
}

void ServerLink::on_closed(const std::string& reason) {
  if (said_.empty()) {
    said_ = reason;
    spdlog::warn("the connection to the token server {} ended: {}", link_->stats().address,
                 printable(reason));
  }
  const v1::ClusterReport none;
  while (!queries_.empty())
    finish(queries_.begin()->first, "the connection to the token server ended: " + reason, none);
  serves_quotas_ = false;
  if (quotas_ != nullptr) quotas_->on_closed();
  upstream_->on_closed();
  if (permits_ != nullptr) permits_->on_closed(upstream_->heard_ns());
}

// One line for a trouble, however long it lasts.
void ServerLink::on_failed(const std::string& reason) {
  if (!said_.empty()) return;
  said_ = reason;
  spdlog::warn("cannot reach the token server: {}; trying on", printable(reason));
}

// ---- questions

void ServerLink::query(v1::ClusterQuery query, QueryDone done) {
  const v1::ClusterReport none;
  if (!link_->is_open() || !upstream_->connected()) {
    const net::LinkStats& stats = link_->stats();
    return done("the token server does not answer" +
                    (stats.last_error.empty() ? std::string() : ": " + stats.last_error),
                none);
  }
  if (queries_.size() >= kQueriesMax) return done("too many questions at once", none);
  const std::uint64_t no = ++query_no_;
  query.set_no(no);
  v1::ToServer message;
  *message.mutable_cluster_query() = std::move(query);
  if (!link_->send(message)) return done("the question could not be sent", none);
  Query& waiting = queries_[no];
  waiting.done = std::move(done);
  waiting.timer =
      std::make_unique<boost::asio::steady_timer>(io_, std::chrono::milliseconds(kQueryTimeoutMs));
  waiting.timer->async_wait([this, no](const boost::system::error_code& error) {
    if (!error) finish(no, "the token server did not answer in time", v1::ClusterReport());
  });
}

void ServerLink::on_report(const v1::ClusterReport& report) {
  finish(report.no(), report.error(), report);
}

void ServerLink::finish(std::uint64_t no, const std::string& error,
                        const v1::ClusterReport& report) {
  const auto found = queries_.find(no);
  if (found == queries_.end()) return;
  const QueryDone done = std::move(found->second.done);
  queries_.erase(found);
  done(error, report);
}

}  // namespace weir::agent
