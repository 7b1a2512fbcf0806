// One of several servers: what the election decides goes to the token server, and the rules that
// etcd keeps are watched.
//
//   <prefix>/claims   16 random bytes, made by the first server: they prove what agents claim to
//                     hold, to whichever server comes next
//   <prefix>/rules    'version: 1' and 'namespaces', as in a server's file; kept there only when
//                     the servers' own files have no namespaces
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rules/parse.h"
#include "server/etcd/client.h"
#include "server/etcd/election.h"

namespace weir::server {
class TokenServer;
}

namespace weir::server::etcd {

// With the password and everything else that the rule names read; empty, or what is wrong.
std::string client_options(const EtcdRule& rule, ClientOptions& options);

// The namespaces of a document that etcd keeps; else what is wrong with it, and where. `called` is
// its name in that text.
std::string namespaces_of(const std::string& document, std::vector<NamespaceRule>& namespaces,
                          const std::string& called = "rules in etcd");

class Cluster final : private ElectionHandler {
 public:
  Cluster(boost::asio::io_context& io, const EtcdRule& rule, std::string server_name);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Before the server starts: waits until etcd answers, saying so in the log now and then. Runs
  // the io_context meanwhile. Empty, or what no waiting will mend.
  std::string prepare(bool with_rules);
  const std::array<unsigned char, 16>& claim_key() const noexcept { return claim_key_; }
  // What is kept in etcd now, checked; empty until there is a good document.
  const std::vector<NamespaceRule>& namespaces() const noexcept { return namespaces_; }

  // From here on the server owns what the election gives it. `on_rules` is called for every new
  // and good document.
  void start(TokenServer& server, std::function<void()> on_rules);
  void set_namespaces(const std::vector<NamespaceRule>& namespaces);
  void raise_epoch(const std::string& name_space, std::uint64_t seen);
  // Gives up what is owned, so that the others need not wait for it.
  void stop(std::function<void()> done);

  Client& client() noexcept { return *client_; }
  ElectionStats stats() const;
  // What the transactions of an owner compare.
  std::optional<Fence> fence(const std::string& name_space) const;

 private:
  void on_owned(const std::string& name_space, const Term& term,
                lease::TimeNs until_boot_ns) override;
  void on_fence(lease::TimeNs until_boot_ns) override;
  void on_resumed(const std::string& name_space, lease::TimeNs until_boot_ns) override;
  void on_not_ours(const std::string& name_space, const std::vector<std::string>& addresses,
                   const std::string& reason) override;
  void on_epoch(const std::string& name_space, std::uint64_t epoch) override;

  void arm();
  void ask_first(bool with_rules);
  void read_rules();
  void watch_rules(std::int64_t from_revision);
  bool take_rules(const rpc::KeyValue& kv);

  boost::asio::io_context& io_;
  const EtcdRule rule_;
  const std::string name_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer rules_timer_;
  std::unique_ptr<Client> client_;
  std::string trouble_;
  std::unique_ptr<Election> election_;
  std::unique_ptr<Watch> rules_watch_;
  TokenServer* server_ = nullptr;
  std::function<void()> on_rules_;
  std::array<unsigned char, 16> claim_key_{};
  bool prepared_ = false;
  bool with_rules_ = false;
  std::int64_t revision_ = 0;
  std::int64_t rules_revision_ = 0;
  std::vector<NamespaceRule> namespaces_;
  std::string answer_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace weir::server::etcd
