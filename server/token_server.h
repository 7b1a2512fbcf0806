// The token server: listeners, hellos, namespaces, and the loop that drives their books. A part of
// weir-server, and of every agent that carries its server in its own process.
//
//     TokenServer server(io, options);
//     if (const StartResult started = server.start(rules); !started) ...
//     io.run();
//
// Lives on the thread of its io_context, as do all calls.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rules/cluster.h"
#include "server/status.h"

namespace boost::asio {
class io_context;
}

namespace weir::server {

struct ServerOptions {
  std::string name;  // for people; empty: the host's
  std::string version;
  std::uint32_t connections_max = 20'000;
  std::uint32_t frames_per_s = 200;  // of one connection; an agent needs a tenth of it
  // Agents that were cut off are back by then: their longest back-off, and connecting.
  std::int64_t reconnect_ns = 13'000'000'000;
  // Of the quotas and the audit log; none: hosts that ask for quotas are told that there are none.
  // They outlive the server, and tell what comes of their calls on its thread.
  QuotaStore* quota_store = nullptr;
  AuditLog* audit = nullptr;
  // One of several servers: no namespace is its own until take_over() says so.
  bool elected = false;
  // What proves claims; the same at all of them. None: that of the state directory.
  std::optional<std::array<unsigned char, 16>> claim_key = std::nullopt;
  // An agent of an owned namespace has met a higher epoch. It is asked to come back.
  std::function<void(const std::string& name_space, std::uint64_t seen)> on_higher_epoch = {};
};

struct StartResult {
  std::string error;    // empty: it runs
  bool in_use = false;  // by another server with the same state directory

  explicit operator bool() const noexcept { return error.empty(); }
};

class TokenServer {
 public:
  TokenServer(boost::asio::io_context& io, ServerOptions options);
  ~TokenServer();  // closes everything; leases run on at their hosts
  TokenServer(const TokenServer&) = delete;
  TokenServer& operator=(const TokenServer&) = delete;

  // Reads and writes the state directory, opens the listeners. May wait for the disk.
  StartResult start(const ServerRules& rules);
  // All or nothing: the text says why nothing was changed. What takes effect with the next start
  // alone is said in the log.
  std::string apply(const ServerRules& rules);
  // Says goodbye to every agent and accepts no other. drained() says when all is out.
  void stop();
  bool drained() const;

  // Quotas are served from now on: as in the options, for a store that was opened later.
  void use_store(QuotaStore& store, AuditLog& audit);
  // What operators do to quotas. `done` is called once, on this thread, perhaps at once; of a
  // namespace that has none, with the outcome unknown_key.
  using QuotaDone = std::function<void(const lease::QuotaResult&)>;
  void quota_change(const std::string& name_space, lease::QuotaChange change, QuotaDone done);
  void quota_read(const std::string& name_space, const std::string& key, QuotaDone done);

  // For several servers: somebody else owns this namespace; agents are sent there. No address: they
  // are asked to come back later. own() takes it back, and learns.
  void redirect(const std::string& name_space, std::vector<std::string> addresses,
                const std::string& reason);
  void own(const std::string& name_space);
  // What an election decides, see ServerOptions::elected. `never_met`: nobody has owned it before,
  // so that there is nothing to learn.
  void take_over(const std::string& name_space, std::uint64_t epoch, bool never_met,
                 std::int64_t until_boot_ns);
  // From then on nothing is granted in any namespace that is owned now.
  void fence(std::int64_t until_boot_ns);
  // After a redirect: it is ours still, and nobody has owned it meanwhile.
  void resume(const std::string& name_space, std::int64_t until_boot_ns);
  void raise_epoch(const std::string& name_space, std::uint64_t epoch);

  std::vector<std::string> addresses() const;  // with the real ports
  const ServerRules& rules() const;
  ServerStatus status(bool with_limits = true) const;
  // The sessions of a namespace, in the order of their names; false when there is no such.
  bool hosts(const std::string& name_space, std::vector<HostStatus>& hosts) const;
  // A reload that failed before it got here, for the status.
  void note_reload_failure(const std::string& why);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::server
