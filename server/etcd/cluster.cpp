#include "server/etcd/cluster.h"

#include <spdlog/spdlog.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <utility>

#include "daemon/log/printable.h"
#include "net/secret.h"
#include "rules/file.h"
#include "server/config.h"
#include "server/server_impl.h"
#include "server/token_server.h"

namespace weir::server::etcd {
namespace {

constexpr Client::Ms kDeadline{1'000};
constexpr Client::Ms kRetry{500};
constexpr std::size_t kPasswordBytesMax = 4096;

}  // namespace

std::string client_options(const EtcdRule& rule, ClientOptions& options) {
  options.endpoints = rule.endpoints;
  options.tls = rule.tls;
  options.ca_file = rule.ca;
  options.certificate_file = rule.certificate;
  options.key_file = rule.key;
  options.user = rule.user;
  if (rule.password_file.empty()) return {};
  FileText file = read_file(rule.password_file, kPasswordBytesMax);
  if (!file.error.empty()) return "etcd: " + rule.password_file + " " + file.error;
  options.password = std::move(file.text);
  while (!options.password.empty() &&
         (options.password.back() == '\n' || options.password.back() == '\r'))
    options.password.pop_back();
  return {};
}

std::string namespaces_of(const std::string& document, std::vector<NamespaceRule>& namespaces,
                          const std::string& called) {
  ServerParseResult parsed = parse_server_rules(document, called);
  if (!parsed.ok())
    return parsed.problems.empty() ? "not a server's file" : to_string(parsed.problems.front());
  const ServerRules plain;
  if (parsed.rules->listen != plain.listen || parsed.rules->tls != plain.tls ||
      parsed.rules->lease != plain.lease || parsed.rules->etcd != plain.etcd ||
      !parsed.rules->api.empty())
    return called + ": only 'version' and 'namespaces' belong here; the rest is each server's own";
  for (const NamespaceRule& rule : parsed.rules->namespaces)
    if (const std::string problem = limits_problem(rule); !problem.empty())
      return called + ":" + std::to_string(rule.line) + ":1: " + problem;
  namespaces = std::move(parsed.rules->namespaces);
  return {};
}

Cluster::Cluster(boost::asio::io_context& io, const EtcdRule& rule, std::string server_name)
    : io_(io), rule_(rule), name_(std::move(server_name)), timer_(io), rules_timer_(io) {
  ClientOptions options;
  trouble_ = client_options(rule, options);
  if (trouble_.empty()) trouble_ = make_client(io, options, client_);
}

Cluster::~Cluster() {
  rules_watch_.reset();
  election_.reset();
  client_.reset();
}

std::string Cluster::prepare(bool with_rules) {
  if (!trouble_.empty()) return trouble_;
  with_rules_ = with_rules;
  // Answers come from another thread: without work of its own the loop would not wait for them.
  auto work = boost::asio::make_work_guard(io_);
  std::string said;
  while (!prepared_) {
    answer_.clear();
    ask_first(with_rules);
    while (answer_.empty() && !prepared_) {
      io_.restart();
      io_.run_one();
    }
    if (prepared_) break;
    if (answer_ != said) spdlog::warn("{}; waiting for it", printable(answer_));
    said = answer_;
    io_.restart();
    io_.run_for(kRetry);
  }
  work.reset();  // the last work that goes stops the loop
  io_.restart();
  return {};
}

void Cluster::ask_first(bool with_rules) {
  std::string fresh(claim_key_.size(), '\0');
  if (!net::random_bytes({reinterpret_cast<unsigned char*>(fresh.data()), fresh.size()})) {
    answer_ = "the kernel gives no random bytes";
    return;
  }
  rpc::TxnRequest request;
  const std::string key = rule_.prefix + "/claims";
  require_created(request, key, 0);
  add_put(request, key, fresh);
  add_get(request, key);
  add_get(request, rule_.prefix + "/rules");
  request.add_failure()->mutable_request_range()->set_key(key);
  request.add_failure()->mutable_request_range()->set_key(rule_.prefix + "/rules");
  client_->txn(std::move(request), kDeadline,
               [this, with_rules](const Status& status, const rpc::TxnResponse& response) {
                 if (!status.ok()) {
                   answer_ = "etcd: " + status.text;
                   return;
                 }
                 const int first = response.succeeded() ? 1 : 0;
                 const auto& claims = response.responses(first).response_range();
                 if (claims.kvs_size() != 1 || claims.kvs(0).value().size() != claim_key_.size()) {
                   answer_ = "etcd: " + rule_.prefix + "/claims is not what a server put there";
                   return;
                 }
                 std::memcpy(claim_key_.data(), claims.kvs(0).value().data(), claim_key_.size());
                 revision_ = response.header().revision();
                 prepared_ = true;
                 if (!with_rules) return;
                 const auto& rules = response.responses(first + 1).response_range();
                 if (rules.kvs_size() == 0)
                   spdlog::warn(
                       "etcd has no rules at {}/rules; put a document with version and namespaces "
                       "there",
                       rule_.prefix);
                 else
                   take_rules(rules.kvs(0));
               });
}

// ---- rules

bool Cluster::take_rules(const rpc::KeyValue& kv) {
  if (kv.mod_revision() <= rules_revision_) return false;
  rules_revision_ = kv.mod_revision();
  if (std::string why = namespaces_of(kv.value(), namespaces_); !why.empty()) {
    spdlog::error("etcd: {}/rules is refused, and what is in force stays: {}", rule_.prefix,
                  printable(why));
    return false;
  }
  return true;
}

void Cluster::watch_rules(std::int64_t from_revision) {
  rules_watch_ = client_->watch(
      rule_.prefix + "/rules", from_revision,
      [this](const rpc::WatchResponse& response) {
        bool changed = false;
        for (const rpc::Event& event : response.events()) {
          if (event.kv().key() != rule_.prefix + "/rules") continue;
          if (event.type() == rpc::Event::DELETE)
            spdlog::error("etcd: {}/rules is gone; what is in force stays", rule_.prefix);
          else
            changed = take_rules(event.kv()) || changed;
        }
        if (changed && on_rules_) on_rules_();
      },
      [this](const std::string&) {
        rules_timer_.expires_after(kRetry);
        rules_timer_.async_wait([this](const boost::system::error_code& error) {
          if (!error) read_rules();
        });
      });
}

void Cluster::read_rules() {
  rpc::TxnRequest request;
  add_get(request, rule_.prefix + "/rules");
  client_->txn(std::move(request), kDeadline,
               [this](const Status& status, const rpc::TxnResponse& response) {
                 if (!status.ok()) {
                   rules_timer_.expires_after(kRetry);
                   rules_timer_.async_wait([this](const boost::system::error_code& error) {
                     if (!error) read_rules();
                   });
                   return;
                 }
                 const auto& rules = response.responses(0).response_range();
                 if (rules.kvs_size() != 0 && take_rules(rules.kvs(0)) && on_rules_) on_rules_();
                 watch_rules(response.header().revision() + 1);
               });
}

// ---- the election

void Cluster::start(TokenServer& server, std::function<void()> on_rules) {
  server_ = &server;
  on_rules_ = std::move(on_rules);
  ElectionOptions options;
  options.prefix = rule_.prefix;
  options.name = name_;
  options.addresses = rule_.advertise;
  options.ttl_s = static_cast<std::int64_t>(rule_.ttl_ns / 1'000'000'000);
  options.rebalance_ns = static_cast<lease::TimeNs>(rule_.rebalance_ns);
  election_ = std::make_unique<Election>(*client_, std::move(options),
                                         static_cast<ElectionHandler&>(*this));
  set_namespaces(server.rules().namespaces);
  if (with_rules_) watch_rules(revision_ + 1);
  election_->tick(boot_now_ns());
  arm();
}

void Cluster::set_namespaces(const std::vector<NamespaceRule>& namespaces) {
  std::vector<std::string> names;
  for (const NamespaceRule& rule : namespaces)
    names.push_back(rule.name);
  if (election_) election_->set_namespaces(std::move(names));
}

void Cluster::raise_epoch(const std::string& name_space, std::uint64_t seen) {
  if (election_) election_->raise_epoch(name_space, seen);
}

void Cluster::arm() {
  timer_.expires_after(std::chrono::nanoseconds(Election::kTickNs));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    election_->tick(boot_now_ns());
    arm();
  });
}

void Cluster::stop(std::function<void()> done) {
  timer_.cancel();
  rules_timer_.cancel();
  rules_watch_.reset();
  if (!election_) return done();
  election_->resign(std::move(done));
}

ElectionStats Cluster::stats() const { return election_ ? election_->stats() : ElectionStats{}; }

std::optional<Fence> Cluster::fence(const std::string& name_space) const {
  return election_ ? election_->fence(name_space) : std::nullopt;
}

void Cluster::on_owned(const std::string& name_space, const Term& term,
                       lease::TimeNs until_boot_ns) {
  server_->take_over(name_space, term.epoch, term.never_met, until_boot_ns);
}
void Cluster::on_fence(lease::TimeNs until_boot_ns) { server_->fence(until_boot_ns); }
void Cluster::on_resumed(const std::string& name_space, lease::TimeNs until_boot_ns) {
  server_->resume(name_space, until_boot_ns);
}
void Cluster::on_not_ours(const std::string& name_space, const std::vector<std::string>& addresses,
                          const std::string& reason) {
  server_->redirect(name_space, addresses, reason);
}
void Cluster::on_epoch(const std::string& name_space, std::uint64_t epoch) {
  server_->raise_epoch(name_space, epoch);
}

}  // namespace weir::server::etcd
