// A domain: a set of processes that may spend from the same buckets, its two segments, its ledger
// and its minter.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/mint/minter.h"
#include "agent/quota/door.h"
#include "agent/quota/table.h"
#include "agent/toolkit/toolkit.h"
#include "rules/parse.h"
#include "rules/tz.h"
#include "shm/segment.h"

namespace weir::agent {

inline constexpr std::uint32_t kStripeSets = 64;
inline constexpr std::uint32_t kWaitersPerClient = 16;

struct DomainOptions {
  std::uint32_t limits_max = kLimitsPerDomainMax;
  std::uint32_t clients_max = 1024;
  std::uint32_t cpus = 1;
  std::uint32_t resources_max = kResourcesPerDomainDefault;
  std::uint32_t quota_keys = 0;  // keys of quotas in use at once; 0: no quotas here
  std::uint64_t stale_after_ns = 250'000'000;
  std::uint64_t client_term_ns = 5'000'000;
  // Another agent ran here since the host started and left no counters: buckets start empty.
  bool ran_before = false;
};

// What an earlier agent left in the descriptor store.
struct Inherited {
  shm::Fd counters;
  shm::Fd ledger;
};

// Both clocks, for windows that follow the calendar. The wall clock decides when a calendar window
// ends and nothing else.
struct Clocks {
  MonoClock mono_ns;
  MonoClock wall_s;
};

// What a lease, or the want of one, comes to for a limit of this host.
struct LeaseUpdate {
  std::uint32_t slot = 0;
  shm::LimitTerms terms;   // with the ends, on the clock of this domain
  std::uint64_t fill = 0;  // tokens that come with it
  bool drain = false;      // take all tokens out
  std::uint64_t drained = 0;
};

class Domain {
 public:
  // Makes the segments, or adopts the counters of an earlier agent. Fails only for want of memory.
  static shm::Result<std::unique_ptr<Domain>> make(const DomainRule& rule,
                                                   const DomainOptions& options, Clocks clocks,
                                                   std::uint64_t agent_epoch,
                                                   Inherited inherited) noexcept;

  // Puts a checked set of limits in force: tokens are minted up to now by the old rules, the other
  // table is filled, one word flips. False when more limits are asked for than slots are free.
  bool publish(const DomainRule& rule) noexcept;
  bool has_room_for(const DomainRule& rule) const noexcept;
  // Why its resources cannot be put in force here; empty: they can.
  std::string places_problem(const DomainRule& rule) const;
  // Who knows the leases of the limits with scope cluster. Before publish().
  using LeaseSource = std::function<shm::LimitTerms(const LimitRule&)>;
  void set_lease_source(LeaseSource source) { lease_source_ = std::move(source); }
  // Puts leases in force, all at once and from this instant on. Says how much was drained.
  void put_leases(std::span<LeaseUpdate> updates) noexcept;

  bool tick();
  // When the next tick is due, if nothing comes in between.
  std::int64_t next_due_ns() const;
  // To be called when something between two ticks makes one due.
  void set_hurry(std::function<void()> hurry) { hurry_ = std::move(hurry); }
  void refresh();  // statistics, calendar edges, automatic stripes: about once a second

  const std::string& name() const { return rule_.name; }
  const DomainRule& rule() const { return rule_; }
  // Null where the counters were kept from an agent that had none.
  Toolkit* toolkit() const { return toolkit_.get(); }
  // Where quotas lie; an empty view where the domain has none.
  const QuotaPlace& quota_place() const { return quota_place_; }
  // Who serves them; null while nobody does. Outlives its stay here.
  QuotaDoor* quota_door() const { return quota_door_; }
  void set_quota_door(QuotaDoor* door) { quota_door_ = door; }
  Minter& minter() { return *minter_; }
  const Minter& minter() const { return *minter_; }
  int rules_fd() const { return rules_fd_.get(); }
  int counters_fd() const { return counters_fd_.get(); }
  int ledger_fd() const { return ledger_fd_.get(); }
  std::size_t rules_bytes() const { return rules_map_.size(); }
  std::size_t counters_bytes() const { return counters_map_.size(); }
  bool adopted() const { return adopted_; }
  std::uint64_t counters_id() const { return counters_id_; }
  const DomainOptions& options() const { return options_; }
  shm::RulesWriter& rules() { return rules_; }
  const shm::RulesWriter& rules() const { return rules_; }
  shm::CountersView counters() const { return counters_; }
  // The slot of a limit of the rule in force; -1 when it has none.
  int slot_of(const std::string& limit) const;
  std::int64_t next_edge_ns(std::uint32_t index, std::int64_t now_ns) const;

 private:
  Domain(const DomainRule& rule, const DomainOptions& options, Clocks clocks);
  shm::Result<int> make_counters();
  bool adopt_counters(Inherited& inherited);
  shm::Result<int> make_rules(std::uint64_t agent_epoch);
  shm::ToolkitGeometry toolkit_geometry(const shm::CountersGeometry& counters) const;
  shm::QuotaGeometry quota_geometry(const shm::ToolkitGeometry& toolkit) const;
  std::size_t whole_ledger_bytes(std::uint32_t cells) const;

  int find_slot(const std::string& limit) const;
  int free_slot(std::int64_t now_ns) const;
  void start(std::uint32_t index, const LimitRule& rule, bool fresh);
  void retire(std::uint32_t index, std::int64_t now_ns);
  shm::LimitTerms lease_of(const LimitRule& rule) const;
  void set_reserve(LimitState& state) const;
  void write_slot(std::uint32_t table, std::uint32_t index);
  void write_rule(std::uint32_t table, std::uint32_t index);
  void write_table(std::uint32_t table);
  void flip_with(const std::vector<std::uint32_t>& changed);
  void store_ends(std::uint32_t index, const shm::LimitTerms& terms);
  std::int64_t first_edge(const LimitRule& rule, LedgerSlot& ledger, bool same_window);
  std::int64_t calendar_edge(const LimitRule& rule, LedgerSlot& ledger);
  void follow_calendar(std::uint32_t index, const LimitRule& rule);
  std::uint32_t stripes_for(std::uint32_t index, const LimitRule& rule, double spent_per_s);
  std::uint32_t free_stripe_set() const;
  void store_hot(std::uint32_t index);
  const TimeZone* zone(const std::string& name);

  DomainRule rule_;
  DomainOptions options_;
  Clocks clocks_;
  shm::Fd rules_fd_, counters_fd_, ledger_fd_;
  shm::Mapping rules_map_, counters_map_, ledger_map_;
  shm::RulesWriter rules_;
  shm::CountersView counters_;
  Ledger ledger_;
  std::unique_ptr<Minter> minter_;
  std::unique_ptr<Toolkit> toolkit_;
  QuotaPlace quota_place_;
  QuotaDoor* quota_door_ = nullptr;
  std::map<std::string, std::uint32_t> slots_;  // limits of the rule in force
  std::map<std::string, std::shared_ptr<const TimeZone>> zones_;
  std::array<std::int64_t, kStripeSets + 1> stripes_freed_ns_{};
  LeaseSource lease_source_;
  std::function<void()> hurry_;
  // Slots in which the table that is not valid differs from the valid one.
  std::vector<std::uint32_t> stale_;
  bool stale_all_ = true;
  bool adopted_ = false;
  bool published_ = false;
  std::uint64_t counters_id_ = 0;
};

// All but the ends, which have words of their own.
bool same_rates(const shm::LimitTerms& a, const shm::LimitTerms& b) noexcept;

// A limit's rule as minting needs it.
shm::LimitTerms terms_of(const LimitRule& rule) noexcept;

}  // namespace weir::agent
