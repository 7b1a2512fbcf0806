// The connection that carries an upstream's words: protobuf over a net::Link, and questions that an
// operator's tool puts to the server through this agent.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/quota/quotas.h"
#include "agent/upstream/permits.h"
#include "agent/upstream/pushed_rules.h"
#include "agent/upstream/upstream.h"
#include "net/link.h"
#include "rules/cluster.h"

namespace weir::agent {

inline constexpr std::size_t kQueriesMax = 16;
inline constexpr int kQueryTimeoutMs = 1500;

struct ServerLinkOptions {
  std::vector<std::string> addresses;
  std::string name_space;
  std::string token_file;  // empty: none
  std::string version;
  TlsRule tls;
};

class ServerLink final : public Speaker, public QuotaSpeaker {
 public:
  ServerLink(boost::asio::io_context& io, ServerLinkOptions options);
  ~ServerLink() override;

  // Empty, or why the certificates are of no use. `upstream` outlives this, and so does what the
  // callback refers to.
  [[nodiscard]] std::string start(Upstream& upstream, std::function<void(PushedRules)> on_rules);
  // Before start(); outlives this.
  void set_permits(Permits& permits) { permits_ = &permits; }
  void close();

  void say(const lease::Hello& hello) override;
  void say(const lease::Request& request) override;
  void say(const lease::Ack& ack) override;
  void say(const lease::Goodbye& goodbye) override;
  void say(const lease::PermitReport& report);
  void go_elsewhere(const std::string& why) override;
  void say(v1::QuotaAsks& asks) override;
  void say(v1::QuotaUsage& usage) override;

  // Who hears what the server says of quotas; null: nobody. It outlives its stay here.
  void set_quotas(Quotas* quotas);

  // `done` is called once, with an error text or the report.
  using QueryDone = std::function<void(const std::string& error, const v1::ClusterReport& report)>;
  void query(v1::ClusterQuery query, QueryDone done);

  // The version of the rules that this agent has, for the next hello.
  void set_rules_version(std::uint64_t version) { rules_version_ = version; }
  const net::LinkStats& stats() const { return link_->stats(); }
  const std::string& server_name() const { return server_name_; }
  const std::string& server_version() const { return server_version_; }
  const ServerLinkOptions& options() const { return options_; }

 private:
  struct Query {
    QueryDone done;
    std::unique_ptr<boost::asio::steady_timer> timer;
  };
  void on_open();
  void on_message(const v1::ToAgent& message);
  void on_closed(const std::string& reason);
  void on_failed(const std::string& reason);
  void on_redirect(const v1::Redirect& redirect);
  void on_report(const v1::ClusterReport& report);
  void finish(std::uint64_t no, const std::string& error, const v1::ClusterReport& report);
  std::string read_token();
  void welcome_quotas();

  boost::asio::io_context& io_;
  ServerLinkOptions options_;
  std::unique_ptr<net::Link> link_;
  Upstream* upstream_ = nullptr;
  Permits* permits_ = nullptr;
  lease::PermitGrants permit_grants_;
  Quotas* quotas_ = nullptr;
  bool serves_quotas_ = false;
  std::function<void(PushedRules)> on_rules_;
  RulesAssembler assembler_;
  std::uint64_t rules_version_ = 0;
  v1::ToServer message_;  // used again and again
  lease::Answer answer_;
  std::map<std::uint64_t, Query> queries_;
  std::uint64_t query_no_ = 0;
  std::string server_name_;
  std::string server_version_;
  std::string said_;  // the last trouble that went to the log
};

}  // namespace weir::agent
