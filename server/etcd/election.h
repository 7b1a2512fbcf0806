// Who owns which namespace. Each server holds one lease of etcd; a namespace belongs to whoever
// created its key, for as long as that server's lease lives.
//
//   <prefix>/cluster/server/<name>   who is there, and where agents find it; goes with its lease
//   <prefix>/cluster/owner/<ns>      the owner; created once, so that its creating revision is the
//                                    term's number; goes with its owner's lease
//   <prefix>/cluster/epochs          added to that revision to make an epoch; 0 unless hosts have
//                                    met servers with higher epochs before
//   <prefix>/cluster/met/<ns>        there as soon as anybody has owned it
//
// An owner may speak until its lease can have run out, counted on its own clock from when its last
// good keep-alive was *sent*. A frozen server finds that past when it wakes up, before it answers.
// When etcd itself could not be heard for a while and the lease turns out to live still, nobody
// else can have owned anything meanwhile: the owner goes on as if nothing had happened.
//
// One thread, that of the client's callbacks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lease/units.h"
#include "server/etcd/client.h"
#include "server/etcd/fence.h"

namespace weir::server::etcd {

struct Term {
  std::uint64_t epoch = 0;
  std::int64_t revision = 0;  // that created the owner's key: the fence of what is stored
  bool never_met = false;     // nobody has ever owned the namespace
};

class ElectionHandler {
 public:
  // The namespace is ours from now on; what agents hold must be learned. `until` as for on_fence().
  virtual void on_owned(const std::string& name_space, const Term& term,
                        lease::TimeNs until_boot_ns) = 0;
  // All that is owned may be spoken for until then, by CLOCK_BOOTTIME.
  virtual void on_fence(lease::TimeNs until_boot_ns) = 0;
  // Ours again, with nobody between: nothing is to be learned.
  virtual void on_resumed(const std::string& name_space, lease::TimeNs until_boot_ns) = 0;
  // Not ours: `addresses` is where the owner is found, empty when there is none or it is not known.
  virtual void on_not_ours(const std::string& name_space, const std::vector<std::string>& addresses,
                           const std::string& reason) = 0;
  virtual void on_epoch(const std::string& name_space, std::uint64_t epoch) = 0;

 protected:
  ~ElectionHandler() = default;
};

struct ElectionOptions {
  std::string prefix = "/weir";
  std::string name;                    // of this server: no other one may have it
  std::vector<std::string> addresses;  // where agents find it
  std::int64_t ttl_s = 2;
  lease::TimeNs rank_step_ns = 300 * lease::kMs;  // a less preferred server waits for the better
  // The preferred owner gets its namespaces back, one at a time, when the same servers have been
  // there for so long; 0: never.
  lease::TimeNs rebalance_ns = 60 * lease::kSecond;
  std::function<lease::TimeNs()> boot_ns = {};  // tests have their own; none: CLOCK_BOOTTIME
};

struct ElectionStats {
  bool joined = false;  // our lease lives, as far as we know
  std::size_t servers = 0;
  std::size_t owned = 0;
  std::uint64_t terms_total = 0;  // times that a namespace became ours
  std::uint64_t lost_total = 0;   // times that our lease ran out
  std::uint64_t muted_total = 0;  // times that we could not know, and went silent
  std::string last_error;
};

class Election {
 public:
  Election(Client& client, ElectionOptions options, ElectionHandler& handler);
  ~Election();

  void set_namespaces(std::vector<std::string> names);
  // Often, about every kTickNs.
  void tick(lease::TimeNs now_ns);
  static constexpr lease::TimeNs kTickNs = 50 * lease::kMs;
  // An agent has seen a higher epoch than that of our term.
  void raise_epoch(const std::string& name_space, std::uint64_t seen);
  // Gives everything up at once, so that others need not wait. `done` comes when etcd knows.
  void resign(std::function<void()> done);

  const ElectionStats& stats() const noexcept { return stats_; }
  std::string owner_name(const std::string& name_space) const;
  std::optional<Fence> fence(const std::string& name_space) const;

  // The order in which servers are to own a namespace; the same everywhere.
  static std::vector<std::string> ranking(const std::string& name_space,
                                          const std::set<std::string>& servers);

 private:
  enum class Phase : std::uint8_t { apart, joining, in };
  struct Owner {
    std::string name;
    std::vector<std::string> addresses;
    std::int64_t revision = 0;
    std::int64_t lease = 0;
  };
  struct Space {
    std::optional<Owner> owner;
    lease::TimeNs free_since_ns = 0;
    bool asking = false;  // a claim is under way
    lease::TimeNs retry_ns = 0;
    std::optional<Term> term;  // ours
    bool silenced = false;     // and its agents were sent away
  };

  lease::TimeNs clock_ns() const;
  std::string key(const char* kind, const std::string& name = {}) const;
  void fail(const std::string& why);
  void join();
  void enter();
  void list();
  void on_list(const rpc::TxnResponse& response);
  void watch(std::int64_t from_revision);
  void apply(const rpc::Event& event);
  void set_owner(const std::string& name_space, std::optional<Owner> owner);
  void keep_alive();
  void on_kept(lease::TimeNs sent_ns, const Status& status, std::int64_t ttl_s);
  void mute();
  void resume();
  void lose(const std::string& why);
  void contest();
  void claim(const std::string& name_space, Space& space);
  void on_claimed(const std::string& name_space, std::int64_t lease, const Status& status,
                  const rpc::TxnResponse& response);
  void adopt(const std::string& name_space, std::int64_t revision);
  void begin_term(const std::string& name_space, const Term& term);
  void rebalance();
  Space* find(const std::string& name_space);
  void tell_not_ours(const std::string& name_space, const Space& space);

  // Callbacks that come when this is gone find it expired.
  template <class Call>
  auto guarded(Call call) {
    return [alive = std::weak_ptr<int>(alive_), call = std::move(call)](const auto&... arguments) {
      if (!alive.expired()) call(arguments...);
    };
  }

  Client& client_;
  const ElectionOptions options_;
  ElectionHandler& handler_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);

  Phase phase_ = Phase::apart;
  lease::TimeNs now_ns_ = 0;
  lease::TimeNs retry_ns_ = 0;
  std::int64_t lease_ = 0;
  lease::TimeNs ttl_ns_ = 0;
  std::int64_t server_revision_ = 0;  // that created our server's key
  lease::TimeNs sent_ns_ = 0;         // the last keep-alive
  bool keeping_ = false;
  lease::TimeNs until_ns_ = 0;
  bool muted_ = false;
  bool resigned_ = false;
  bool listed_ = false;
  bool listing_ = false;
  std::unique_ptr<Watch> watch_;
  lease::TimeNs name_taken_since_ns_ = 0;
  bool name_taken_said_ = false;

  std::map<std::string, Space, std::less<>> spaces_;
  std::set<std::string> servers_;
  lease::TimeNs servers_since_ns_ = 0;
  lease::TimeNs handed_over_ns_ = 0;
  std::uint64_t base_ = 0;
  std::int64_t base_version_ = 0;
  bool raising_ = false;
  ElectionStats stats_;
};

}  // namespace weir::server::etcd
