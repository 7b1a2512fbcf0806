// All of the agent that has to do with a cluster: the link to a token server, the server itself
// where it is embedded, and the limits that come from it.
#pragma once

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/domain.h"
#include "agent/quota/quotas.h"
#include "agent/upstream/embedded.h"
#include "agent/upstream/permits.h"
#include "agent/upstream/server_link.h"
#include "agent/upstream/upstream.h"
#include "rules/parse.h"

namespace weir::agent {

struct ClusterOptions {
  std::string runtime_dir;
  std::string state_dir;  // of an embedded server, where the rules name none
  std::string version;
  std::string boot_id;
  std::uint64_t agent_epoch = 0;
};

// Whether the rules ask for a server at all. Without that nothing is started.
bool wants_cluster(const ClusterRule& rule) noexcept;

class Cluster {
 public:
  // `on_limits` is called when the limits() have changed: the domain is to be published anew.
  Cluster(boost::asio::io_context& io, ClusterOptions options, std::function<void()> on_limits);
  ~Cluster();

  // Empty, or why it cannot run.
  [[nodiscard]] std::string start(const ClusterRule& rule);
  // New rules for the same server and the same place in the cluster; false when that differs, and a
  // new Cluster has to be made.
  bool fits(const ClusterRule& rule) const noexcept;
  void apply(const ClusterRule& rule);
  // Why the embedded server would not take these rules; empty when it would.
  static std::string problem_of(const ClusterRule& rule);

  // The domain in which the limits live. Before it publishes, and after.
  // `first`: this process serves it for the first time.
  void prepare(Domain& domain, bool first);
  void bind(Domain& domain);
  // The domain's own limits and the cluster's. A name that is in both stays the host's.
  DomainRule merged(const DomainRule& rule);

  void tick() {
    upstream_->tick();
    permits_->tick(upstream_->heard_ns());
    if (quotas_) quotas_->tick();
  }
  // Somebody uses a quota; so long the agent must not sleep.
  bool busy() const { return quotas_ && quotas_->busy(); }
  std::int64_t due_in_ns() const {
    const std::int64_t due_ns = std::min(upstream_->due_in_ns(), permits_->due_in_ns());
    return quotas_ ? std::min(due_ns, quotas_->due_in_ns()) : due_ns;
  }
  void look() { upstream_->look(); }
  // Before a stop: units of quotas go back, which takes the server's answers. Then stop(), when
  // this is true or nobody wants to wait any more.
  bool settle();
  // `give_back`: nobody spends here any more.
  void stop(bool give_back);

  const ClusterRule& rule() const { return rule_; }
  const Upstream& upstream() const { return *upstream_; }
  const Permits& permits() const { return *permits_; }
  ServerLink& link() { return *link_; }
  const ServerLink& link() const { return *link_; }
  const Quotas* quotas() const { return quotas_.get(); }  // null where the domain has no place
  const std::vector<std::string>& conflicts() const { return conflicts_; }
  bool knows_rules() const { return rule_.embedded() || rules_version_ != 0; }
  std::uint64_t rules_version() const { return rules_version_; }
  // Of the embedded server; none without one.
  std::shared_ptr<const server::ServerStatus> server_status() const {
    return server_ ? server_->status() : nullptr;
  }

 private:
  std::string server_socket() const { return options_.runtime_dir + "/server.sock"; }
  std::string rules_file() const { return options_.runtime_dir + "/cluster_rules"; }
  ServerRules server_rules(const ClusterRule& rule) const;
  void take_rules(PushedRules rules);

  boost::asio::io_context& io_;
  ClusterOptions options_;
  std::function<void()> on_limits_;
  ClusterRule rule_;
  std::vector<LimitRule> limits_;
  std::uint64_t rules_version_ = 0;
  std::vector<std::string> conflicts_;
  std::unique_ptr<EmbeddedServer> server_;
  std::unique_ptr<ServerLink> link_;
  std::unique_ptr<Upstream> upstream_;
  std::unique_ptr<Permits> permits_;
  std::unique_ptr<Quotas> quotas_;
  Domain* quota_domain_ = nullptr;
  bool prepared_ = false;
};

}  // namespace weir::agent
