// The inside of the token server, shared by the files that it is made of. Internal to this folder.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/log/limiter.h"
#include "net/lease_wire.h"
#include "net/listener.h"
#include "server/space.h"
#include "server/state_store.h"
#include "server/token_server.h"

namespace weir::server {

lease::TimeNs boot_now_ns() noexcept;  // CLOCK_BOOTTIME: it goes on while the machine sleeps
std::uint64_t mono_now_ns() noexcept;

class TokenServer::Impl : public net::ListenerHandler,
                          public std::enable_shared_from_this<TokenServer::Impl> {
 public:
  Impl(boost::asio::io_context& io, ServerOptions options);

  StartResult start(const ServerRules& rules);
  std::string apply(const ServerRules& rules);
  void stop();
  bool drained() const;
  void redirect(const std::string& name_space, std::vector<std::string> addresses,
                const std::string& reason);
  void own(const std::string& name_space);
  void take_over(const std::string& name_space, std::uint64_t epoch, bool never_met,
                 lease::TimeNs until_ns);
  void fence(lease::TimeNs until_ns);
  void resume(const std::string& name_space, lease::TimeNs until_ns);
  void raise_epoch(const std::string& name_space, std::uint64_t epoch);
  std::vector<std::string> addresses() const;
  ServerStatus status(bool with_limits) const;
  void use_store(QuotaStore& store, AuditLog& audit);
  // Null, and what is said to whoever asked.
  SpaceQuotas* quotas_of(const std::string& name_space, lease::QuotaResult& none);
  bool hosts(const std::string& name_space, std::vector<HostStatus>& hosts) const;

  ServerRules rules;
  std::uint64_t reload_failures_total = 0;
  std::string reload_error;

 private:
  using Listeners = std::map<std::string, std::unique_ptr<net::Listener>>;  // by address

  // net::ListenerHandler
  void on_open(net::Connection& connection) override;
  void on_message(net::Connection& connection, const v1::ToServer& message) override;
  void on_closed(net::Connection& connection) override;

  // hello.cpp
  void on_hello(Session& session, const v1::Hello& message);
  bool may_speak(Session& session, const v1::Hello& message);
  // An earlier server was heard of, and our state knows nothing of it.
  bool fresh_ = false;
  void see_epoch(std::uint64_t epoch_seen, Space& space);
  bool see_elected_epoch(Session& session, std::uint64_t epoch_seen);
  void send_away(Session& session, const v1::Hello& message);
  void answer_parked(Space& space);
  void welcome_when_stored(Session& session);
  void welcome_passive(Session& session);
  void refuse(Session& session, Refusal why, v1::RefusedCode code, std::string_view text,
              const std::string& detail);
  Space* find_space(const std::string& name);

  // query.cpp
  void on_query(Session& session, const v1::ClusterQuery& query);
  void fill_server(const Space& space, v1::ServerReport& report) const;

  std::string make_listeners(const ServerRules& next, Listeners& fresh);
  net::ListenerOptions listener_options(const ServerRules& next) const;
  void open_space(const NamespaceRule& rule, KnownHosts known, lease::TimeNs now_ns);
  void close_space(Space& space);
  void close_strangers(Space& space);
  void say_what_waits(const ServerRules& next) const;
  void arm();
  void on_poll();
  void on_slow_poll(lease::TimeNs now_ns);

  boost::asio::io_context& io_;
  ServerOptions options_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<StateStore> store_;
  QuotaBackend quotas_;
  std::array<unsigned char, 16> key_{};
  std::uint64_t epoch_ = 0;
  LeaseRule lease_;  // of this start
  std::map<std::string, std::unique_ptr<Space>, std::less<>> spaces_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;  // by connection
  Listeners listeners_;
  std::vector<std::unique_ptr<net::Listener>> retired_;  // until their connections are gone
  net::ListenerStats retired_stats_;
  std::shared_ptr<net::TlsContext> tls_;

  lease::Hello hello_;
  Times request_times_;
  LogLimiter limiter_;
  std::array<std::uint64_t, kRefusals> refused_total_{};
  std::uint64_t reloads_total_ = 0;
  std::uint64_t handshake_failures_seen_ = 0;
  bool state_degraded_said_ = false;
  bool stopping_ = false;
  lease::TimeNs started_boot_ns_ = 0;
  lease::TimeNs next_slow_boot_ns_ = 0;
  lease::TimeNs next_sample_boot_ns_ = 0;
  std::uint32_t own_uid_ = 0;
};

}  // namespace weir::server
