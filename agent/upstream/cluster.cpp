#include "agent/upstream/cluster.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "daemon/log/printable.h"
#include "server/config.h"
#include "server/wall_clock.h"
#include "shm/clock.h"

namespace weir::agent {

namespace {

std::int64_t read_boot_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string own_host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

std::uint64_t random_word() {
  std::uint64_t word = 0;
  while (word == 0)
    if (::getrandom(&word, sizeof(word), 0) != sizeof(word)) word = 0;
  return word;
}

// All but the limits, which may change while the link stays.
ClusterRule frame_of(const ClusterRule& rule) {
  ClusterRule frame = rule;
  frame.limits.clear();
  frame.permits.clear();
  return frame;
}

}  // namespace

bool wants_cluster(const ClusterRule& rule) noexcept {
  return !rule.embedded() || !rule.limits.empty() || !rule.permits.empty() ||
         !rule.quotas.empty() || !rule.listen.empty();
}

Cluster::Cluster(boost::asio::io_context& io, ClusterOptions options,
                 std::function<void()> on_limits)
    : io_(io), options_(std::move(options)), on_limits_(std::move(on_limits)) {}

Cluster::~Cluster() {
  if (quota_domain_ != nullptr) quota_domain_->set_quota_door(nullptr);
  if (link_) link_->set_quotas(nullptr);
}

ServerRules Cluster::server_rules(const ClusterRule& rule) const {
  ServerRules rules = server::embedded_rules(rule, server_socket());
  if (rules.state_dir.empty()) rules.state_dir = options_.state_dir;
  return rules;
}

std::string Cluster::problem_of(const ClusterRule& rule) {
  if (!rule.embedded()) return {};
  return server::limits_problem(server::embedded_rules(rule, {}).namespaces.front());
}

std::string Cluster::start(const ClusterRule& rule) {
  rule_ = rule;
  std::uint32_t hosts = 0;
  if (rule.embedded()) {
    server_ = std::make_unique<EmbeddedServer>(io_);
    if (std::string error = server_->start(server_rules(rule), options_.version); !error.empty())
      return "the embedded token server cannot start: " + error;
    limits_ = leaves_of(rule.limits);
  } else {
    PushedRules known = load_rules(rules_file());
    limits_ = std::move(known.limits);
    rules_version_ = known.version;
    hosts = known.hosts;
  }
  ServerLinkOptions link;
  link.addresses = rule.embedded() ? std::vector{"unix:" + server_socket()} : rule.servers;
  link.name_space = rule.name_space;
  link.token_file = rule.token_file;
  link.version = options_.version;
  if (!rule.embedded()) link.tls = rule.tls;
  link_ = std::make_unique<ServerLink>(io_, std::move(link));
  link_->set_rules_version(rules_version_);

  UpstreamOptions upstream;
  upstream.host = rule.host.empty() ? own_host_name() : rule.host;
  upstream.agent_epoch = random_word();
  upstream.seed = random_word();
  upstream.several_servers = rule.servers.size() > 1;
  upstream.request_timeout_ns = static_cast<std::int64_t>(rule.request_timeout_ms) * 1'000'000;
  upstream.ttl_ns = static_cast<std::int64_t>(rule.lease.ttl_ns);
  upstream.boot_id = options_.boot_id;
  upstream.leases_file = options_.runtime_dir + "/leases";
  upstream_ = std::make_unique<Upstream>(std::move(upstream),
                                         UpstreamClocks{read_boot_ns, shm::read_mono_ns}, *link_);
  upstream_->set_limits(limits_, hosts);
  PermitsOptions permits;
  permits.boot_id = options_.boot_id;
  permits.file = options_.runtime_dir + "/permits";
  permits.patience_ns = static_cast<std::int64_t>(rule.request_timeout_ms) * 1'000'000;
  permits.ttl_ns = static_cast<std::int64_t>(rule.lease.ttl_ns + rule.lease.tail_ns);
  permits_ = std::make_unique<Permits>(
      std::move(permits), read_boot_ns,
      [link = link_.get()](const lease::PermitReport& report) { link->say(report); });
  link_->set_permits(*permits_);
  return link_->start(*upstream_, [this](PushedRules rules) { take_rules(std::move(rules)); });
}

bool Cluster::fits(const ClusterRule& rule) const noexcept {
  ClusterRule before = frame_of(rule_), after = frame_of(rule);
  if (rule_.embedded() && rule.embedded()) {
    // What its server takes, or says that it takes at the next start, is none of the link's.
    const auto clear = [](ClusterRule& r) {
      r.listen.clear();
      r.insecure = false;
      r.allow = {};
      r.guard = 0;
      r.lease = {};
      r.tls = {};
      r.state_dir.clear();
      r.quotas.clear();
      r.store = {};
    };
    clear(before);
    clear(after);
  }
  return before == after;
}

void Cluster::apply(const ClusterRule& rule) {
  rule_ = rule;
  if (!rule.embedded()) return;
  limits_ = leaves_of(rule.limits);
  upstream_->set_limits(limits_, 0);
  server_->apply(server_rules(rule), [](const std::string& wrong) {
    if (!wrong.empty()) spdlog::error("the embedded token server keeps its old rules: {}", wrong);
  });
}

void Cluster::take_rules(PushedRules rules) {
  if (rules.skipped != 0)
    spdlog::warn("the token server sent {} limit(s) that this agent cannot take", rules.skipped);
  rules_version_ = rules.version;
  if (rule_.embedded()) {
    // They are this agent's own; what it did not know is how many hosts there are.
    upstream_->set_limits(limits_, rules.hosts);
    return;
  }
  if (const std::string failed = save_rules(rules_file(), rules); !failed.empty())
    spdlog::warn("{}; the limits of the cluster are known until the agent stops", failed);
  const bool same = rules.limits == limits_;
  limits_ = std::move(rules.limits);
  upstream_->set_limits(limits_, rules.hosts);
  if (same) return;
  spdlog::info("the token server sent {} limit(s)", limits_.size());
  on_limits_();
}

void Cluster::prepare(Domain& domain, bool first) {
  domain.set_lease_source([this](const LimitRule& rule) { return upstream_->terms_of(rule); });
  if (std::exchange(prepared_, true)) return;
  // What a predecessor left in the counters is there at the first time only; later it is what
  // another Cluster of this process had, and has given back.
  const bool inherited = first && domain.adopted();
  permits_->restore(domain.counters_id(), inherited);
  if (inherited)
    upstream_->restore(domain.counters_id());
  else
    upstream_->forget(domain.counters_id());
}

void Cluster::bind(Domain& domain) {
  upstream_->bind(domain);
  permits_->bind(domain);
  if (quotas_ || !domain.quota_place().view) return;
  QuotasOptions options;
  options.host = upstream_->host();
  options.agent_epoch = upstream_->desk().agent_epoch();
  options.seed = random_word();
  quotas_ = std::make_unique<Quotas>(
      std::move(options), QuotaClocks{read_boot_ns, shm::read_mono_ns, server::wall_now_ms}, *link_,
      domain.quota_place());
  quota_domain_ = &domain;
  domain.set_quota_door(quotas_.get());
  link_->set_quotas(quotas_.get());
}

DomainRule Cluster::merged(const DomainRule& rule) {
  if (rule.name != rule_.domain) return rule;
  DomainRule all = rule;
  std::vector<std::string> conflicts;
  for (const LimitRule& limit : limits_) {
    const bool taken = std::any_of(rule.limits.begin(), rule.limits.end(),
                                   [&](const LimitRule& own) { return own.name == limit.name; });
    if (taken)
      conflicts.push_back(limit.name);
    else if (all.limits.size() < kLimitsPerDomainMax)
      all.limits.push_back(limit);
  }
  if (conflicts != conflicts_)
    for (const std::string& name : conflicts)
      spdlog::warn(
          "limit {} is in the rules file and comes from the token server, too; the one of "
          "the file is in force on this host, and counts for it alone",
          printable(name));
  conflicts_ = std::move(conflicts);
  return all;
}

bool Cluster::settle() {
  if (!quotas_) return true;
  quotas_->leave();
  quotas_->tick();
  return quotas_->settled();
}

void Cluster::stop(bool give_back) {
  // Permits and quotas first: the goodbye ends the session.
  if (give_back && permits_) permits_->leave();
  if (quotas_) quotas_->leave();
  if (give_back && upstream_) upstream_->leave();
  if (link_) link_->close();
  if (server_) server_->stop();
}

}  // namespace weir::agent
