// Who may hold how many of a cluster's permits: the server's side, without clock and I/O.
//
// The one rule that everything hangs on: the *bound* of a host is the most permits that may be in
// use there at any instant, whatever has arrived of what was sent, and the bounds of all hosts add
// up to at most the limit. A cap is raised out of what no bound covers, and the bound with it, at
// once. A cap that is lowered frees nothing until the host has said that it is in force and how
// many are still in flight there. Permits cannot be taken from who holds them, so they cannot run
// out with a lease either: a lost host keeps its bound for kPermitForgetNs.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lease/book.h"
#include "lease/permit.h"

namespace weir::lease {

struct PermitRule {
  std::string name;
  Permits max = 0;

  bool operator==(const PermitRule&) const = default;
};

struct PermitBookOptions {
  TimeNs ttl_ns = 10 * kSecond;
  TimeNs forget_ns = kPermitForgetNs;
  // Those that are lost are remembered for a while: whoever says hello under ever new names must
  // not fill the memory. Beyond it a new host gets nothing and goes by its fallback.
  std::size_t hosts_max = 200'000;

  // Each takes out one rule, so that the tests can show what it is worth.
  struct Mutants {
    bool free_on_lowering = false;  // a lowered cap frees permits when it is sent
    bool any_confirms = false;      // a report confirms whatever was sent last
    bool no_learning = false;       // raise before everybody has said what it holds
    bool no_turns = false;          // fewer permits than hosts: the first ones keep them
  } mutants;
};

struct PermitStatus {
  std::string name;
  Permits max = 0;
  Permits bound = 0;      // may be in use
  Permits in_flight = 0;  // as reported
  Permits wanted = 0;
  std::uint32_t hosts = 0;       // connected ones that have the resource
  std::uint32_t lost_hosts = 0;  // others, whose permits are kept for them
  std::uint32_t awaited = 0;     // connected ones that have not yet said what they hold
  bool learning = false;
};

// One host of a resource, connected or not.
struct PermitHostStatus {
  std::string host;
  bool connected = false;
  bool reported = false;  // the resource, in this session
  Permits cap = 0;        // as it was told last
  Permits bound = 0;      // may be in use there
  Permits in_flight = 0;  // as reported
  Permits wanted = 0;
  TimeNs reported_ns = 0;  // when it named the resource last
};

class PermitBook {
 public:
  PermitBook(PermitBookOptions options, TimeNs now_ns);

  // A resource that is new learns first: hosts may have gone by their fallback.
  void set_rules(const std::vector<PermitRule>& rules, TimeNs now_ns);
  // Whether the namespace learns. While it does, no cap rises.
  void set_learning(bool learning, TimeNs now_ns);

  // A session that was welcomed. `speaks`: its agent knows of permits and will report.
  void join(const Identity& identity, SessionId session, bool speaks, TimeNs now_ns);
  // Its connection is gone.
  void leave(const Identity& identity, SessionId session, TimeNs now_ns);
  // False: not of this session, or an old one. `answer` is the answer.
  bool report(const Identity& identity, const PermitReport& report, TimeNs now_ns,
              PermitGrants& answer);
  void poll(TimeNs now_ns);
  // What hosts have to hear that did not ask.
  void take_pushes(std::vector<PermitGrants>& pushes);

  std::size_t hosts() const noexcept { return hosts_.size(); }
  bool idle() const noexcept { return hosts_.empty(); }
  TimeNs ttl_ns() const noexcept { return options_.ttl_ns; }
  std::vector<PermitStatus> status() const;
  std::vector<PermitHostStatus> hosts_of(std::string_view name) const;  // by name
  Permits bounds_of(std::string_view name) const;

 private:
  struct Row {
    std::uint64_t number = 0;  // of the newest grant of this session
    Permits cap = 0;           // what that grant says; before one, what the host said
    Permits bound = 0;
    Permits want = 0;
    Permits in_flight = 0;
    Permits target = 0;
    bool reported = false;  // in this session
    bool push = false;
    std::uint64_t seq = 0;  // of the report that named it last
    TimeNs named_ns = 0;
    TimeNs turn_ns = 0;    // when its turn began, where permits are fewer than hosts
    TimeNs served_ns = 0;  // when its last turn ended
  };
  struct Host {
    SessionId session = 0;
    std::uint64_t seq = 0;
    bool connected = false;
    bool speaks = false;
    TimeNs reported_ns = -1;
    TimeNs lease_end_ns = 0;
    std::map<std::string, Row, std::less<>> rows;
  };
  struct Resource {
    Permits max = 0;
    Permits bounds = 0;  // the sum over all hosts
    TimeNs since_ns = 0;
    bool learning = true;
    bool unfair = true;    // targets are to be found anew
    bool pending = false;  // some host is to get more than it has
    bool turns = false;
    std::uint32_t hosts = 0;  // that have a row of it
    TimeNs targeted_ns = 0;
  };
  struct Part {
    Row* row = nullptr;
    Permits want = 0;
    std::size_t order = 0;
  };

  bool lives(const Host& host, TimeNs now_ns) const noexcept;
  void set_bound(Resource& resource, Row& row, Permits bound) noexcept;
  void take_row(Resource& resource, Row& row, const PermitRow& said, bool leaving);
  void send(Row& row, Permits cap, TimeNs now_ns);
  bool has_learned(const Resource& resource, TimeNs now_ns) const;
  void advance(const std::string& name, Resource& resource, TimeNs now_ns);
  void collect(const std::string& name, TimeNs now_ns);
  void find_targets(Resource& resource, TimeNs now_ns);
  void divide_scarce(Resource& resource, Permits there, TimeNs now_ns);
  bool worth_it(Permits there) const;
  void settle(Resource& resource, TimeNs now_ns);
  void drop(std::map<Identity, Host>::iterator host);
  void forget_unnamed(Host& host, TimeNs now_ns);

  PermitBookOptions options_;
  std::map<std::string, Resource, std::less<>> resources_;
  std::map<Identity, Host> hosts_;
  bool learning_ = true;
  bool pushes_due_ = false;
  std::vector<Part> parts_;  // of the resource at hand: used again and again
};

}  // namespace weir::lease
