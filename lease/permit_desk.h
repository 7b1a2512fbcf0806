// A host's side of the cluster-wide concurrency limits: which cap is in force for each resource,
// what is said of it to the server, and what holds without a server. No clock, no I/O.
//
// A cap is put in force by the caller in three steps: take_changes(), publish what they say, and
// only then read how many are in flight and say so by applied(). A report confirms a grant only
// after that, since the server gives to others what this host was told not to use any more.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lease/permit.h"

namespace weir::lease {

enum class PermitFallback : std::uint8_t { local, open, closed };

struct PermitResource {
  std::string name;
  Permits max = 0;  // what the fallback divides
  PermitFallback fallback = PermitFallback::local;

  bool operator==(const PermitResource&) const = default;
};

// What a successor has to know.
struct PermitDeskState {
  struct Held {
    std::string name;
    Permits cap = 0;
    TimeNs end_ns = 0;
    std::uint32_t hosts = 0;
  };
  TimeNs ttl_ns = 0;
  std::vector<Held> held;
};

struct PermitView {
  Permits cap = 0;
  Permits in_flight = 0;
  Permits want = 0;
  std::uint32_t hosts = 0;
  bool leased = false;
  bool fallback = false;
  TimeNs end_ns = 0;
};

struct PermitDeskOptions {
  TimeNs started_ns = 0;
  TimeNs patience_ns = 500 * kMs;  // before a host that never heard a server falls back
  TimeNs ttl_ns = 10 * kSecond;    // until a server says otherwise

  struct Mutants {
    bool pushes_lengthen = false;    // a grant that nobody asked for lengthens the lease
    bool from_receipt = false;       // a lease counts from when the answer came
    bool confirm_unapplied = false;  // a grant is confirmed when it was taken
    bool old_numbers = false;        // a grant is taken whatever its number
  } mutants;
};

class PermitDesk {
 public:
  explicit PermitDesk(PermitDeskOptions options) : options_(options), ttl_ns_(options.ttl_ns) {}

  // Before anything else. Its caps are in force, and count as such until `settle_old_rules`.
  void restore(const PermitDeskState& state);
  // In its place where nothing is known of the agent before this one, whose clients are still
  // there: each of its caps may have been as high as the maximum.
  void restore_unknown() noexcept { unknown_before_ = true; }
  // To be kept before changes are put in force, and before a report is sent: never less than what
  // is in force, never more than what the server reckons with.
  PermitDeskState state() const;
  void set_resources(const std::vector<PermitResource>& resources, TimeNs now_ns);
  std::size_t size() const noexcept { return rows_.size(); }

  // A session that was welcomed. `speaks`: its server knows of permits.
  void opened(SessionId session, bool speaks, TimeNs now_ns);
  void closed(TimeNs now_ns);
  // When a server was last heard, of whatever; 0: never.
  void heard(TimeNs heard_ns) noexcept { heard_ns_ = heard_ns; }
  void on_grants(const PermitGrants& grants, TimeNs now_ns);

  // What is in flight, and how many were refused since the last look.
  void observe(std::string_view name, Permits in_flight, Permits refused);
  // What has ended is withdrawn.
  void tick(TimeNs now_ns);
  struct Change {
    std::string name;
    Permits before = 0;
    Permits cap = 0;
  };
  // Caps that are to be put in force, each until applied() has said that it is.
  std::vector<Change> changes() const;
  void applied(std::string_view name, Permits in_flight);
  // While some process still goes by the rules of an agent before this one, nothing is confirmed.
  void hold_confirmations(bool hold) noexcept { hold_ = hold; }

  // Null: nothing is to be said now.
  const PermitReport* next_report(TimeNs now_ns);
  TimeNs next_deadline(TimeNs now_ns) const;
  // The caps are 0 from here on; to be put in force before last_report().
  void leave(TimeNs now_ns);
  std::optional<PermitReport> last_report(TimeNs now_ns);

  std::optional<PermitView> view(std::string_view name, TimeNs now_ns) const;

 private:
  struct Row {
    PermitResource rule;
    std::uint64_t taken = 0;      // number of the newest grant taken in this session
    std::uint64_t confirmed = 0;  // and of the one that is in force
    Permits cap = 0;              // that is to be in force
    Permits in_force = 0;
    bool dirty = false;  // it is not yet
    Permits inherited = 0;
    TimeNs end_ns = 0;  // of the lease; 0: there was none
    bool leased = false;
    bool fallback = false;
    bool unknown = false;  // to the server
    std::uint32_t hosts = 0;
    Permits in_flight = 0;
    std::array<Permits, 2> peak{};  // in this second, and in the last one
    std::array<Permits, 2> refused{};
    std::uint64_t first_seq = 0;  // of the report that named it first in this session
    PermitRow said;               // as it was reported last
  };
  using Rows = std::map<std::string, Row, std::less<>>;

  void set_cap(Row& row, Permits cap);
  void judge(Row& row, TimeNs now_ns);
  Permits fallback_cap(const Row& row) const;
  TimeNs fallback_from_ns() const;
  Permits want_of(const Row& row) const;
  bool urgent(const Row& row, TimeNs now_ns) const;
  TimeNs sent_at(std::uint64_t seq) const;
  void take(Row& row, const PermitGrantRow& grant, TimeNs end_ns, bool answer, TimeNs now_ns);
  const PermitReport& compose(TimeNs now_ns, bool leaving);

  PermitDeskOptions options_;
  Rows rows_;
  std::map<std::string, PermitDeskState::Held, std::less<>> restored_;
  SessionId session_ = 0;
  bool speaks_ = false;
  bool hold_ = false;
  bool unknown_before_ = false;
  bool left_ = false;
  std::uint64_t seq_ = 0;
  TimeNs reported_ns_ = 0;
  TimeNs remembered_ns_ = 0;  // when the demand's memory moved on
  TimeNs heard_ns_ = 0;
  TimeNs ttl_ns_ = 0;
  struct Sent {
    std::uint64_t seq = 0;
    TimeNs at_ns = 0;
  };
  std::array<Sent, 64> sent_{};
  PermitReport report_;  // used again and again
};

}  // namespace weir::lease
