// etcd in virtual time, for tests of what is built upon it: one history of keys, leases that run
// out, watches, and a line to each server that can be slow, or cut in either direction.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lease/units.h"
#include "server/etcd/client.h"

namespace weir::test {

namespace etcd = server::etcd;
namespace rpc = server::etcd::rpc;
using lease::TimeNs;

// What happens, in the order of its time.
class Agenda {
 public:
  TimeNs now_ns = lease::kSecond;

  void at(TimeNs when_ns, std::function<void()> what) {
    todo_.emplace(std::max(when_ns, now_ns), std::move(what));
  }
  void run_until(TimeNs end_ns) {
    while (!todo_.empty() && todo_.begin()->first <= end_ns) {
      auto first = todo_.extract(todo_.begin());
      now_ns = first.key();
      first.mapped()();
    }
    now_ns = end_ns;
  }

 private:
  std::multimap<TimeNs, std::function<void()>> todo_;
};

class FakeEtcd {
 public:
  struct Value {
    std::string text;
    std::int64_t created = 0, changed = 0, version = 0, lease = 0;
  };
  struct Watcher {
    std::string prefix;
    std::function<void(const rpc::WatchResponse&)> tell;
  };

  explicit FakeEtcd(Agenda& agenda) : agenda_(agenda) {}

  rpc::TxnResponse txn(const rpc::TxnRequest& request) {
    rpc::TxnResponse response;
    response.set_succeeded(
        std::all_of(request.compare().begin(), request.compare().end(),
                    [&](const rpc::Compare& compare) { return holds(compare); }));
    ++revision_;
    bool changed = false;
    const auto& operations = response.succeeded() ? request.success() : request.failure();
    for (const rpc::RequestOp& operation : operations) {
      rpc::ResponseOp& done = *response.add_responses();
      if (operation.has_request_range()) {
        range(operation.request_range(), *done.mutable_response_range());
      } else if (operation.has_request_put()) {
        changed = true;
        done.mutable_response_put();
        const rpc::PutRequest& put = operation.request_put();
        set(put.key(), put.value(), put.lease());
      } else {
        changed = erase(operation.request_delete_range().key()) || changed;
        done.mutable_response_delete_range();
      }
    }
    if (!changed) --revision_;
    response.mutable_header()->set_revision(revision_);
    publish();
    return response;
  }

  std::int64_t grant(std::int64_t ttl_s) {
    const std::int64_t id = ++leases_made_;
    leases_[id].ttl_ns = ttl_s * lease::kSecond;
    renew(id);
    return id;
  }
  // Its whole time to live, or 0.
  std::int64_t renew(std::int64_t id) {
    const auto found = leases_.find(id);
    if (found == leases_.end()) return 0;
    const TimeNs end_ns = found->second.end_ns = agenda_.now_ns + found->second.ttl_ns;
    agenda_.at(end_ns, [this, id, end_ns] {
      const auto lease = leases_.find(id);
      if (lease != leases_.end() && lease->second.end_ns == end_ns) revoke(id);
    });
    return found->second.ttl_ns / lease::kSecond;
  }
  void revoke(std::int64_t id) {
    if (leases_.erase(id) == 0) return;
    ++revision_;
    std::vector<std::string> gone;
    for (const auto& [key, value] : keys_)
      if (value.lease == id) gone.push_back(key);
    for (const std::string& key : gone)
      erase(key);
    publish();
  }
  void remove(const std::string& key) {  // by hand
    ++revision_;
    erase(key);
    publish();
  }

  const std::map<std::string, Value>& keys() const { return keys_; }
  std::int64_t revision() const { return revision_; }
  int add_watch(Watcher watcher, std::int64_t from_revision) {
    for (const auto& [revision, events] : history_)
      if (revision >= from_revision) tell(watcher, events);
    watchers[++watchers_made_] = std::move(watcher);
    return watchers_made_;
  }
  std::map<int, Watcher> watchers;

 private:
  struct Lease {
    TimeNs ttl_ns = 0, end_ns = 0;
  };

  bool holds(const rpc::Compare& compare) const {
    const auto found = keys_.find(compare.key());
    const Value none, &value = found == keys_.end() ? none : found->second;
    return compare.target() == rpc::Compare::CREATE ? value.created == compare.create_revision()
                                                    : value.version == compare.version();
  }
  void range(const rpc::RangeRequest& asked, rpc::RangeResponse& found) const {
    for (const auto& [key, value] : keys_) {
      const bool in = asked.range_end().empty() ? key == asked.key()
                                                : key >= asked.key() && key < asked.range_end();
      if (in) fill(key, value, *found.add_kvs());
    }
  }
  static void fill(const std::string& key, const Value& value, rpc::KeyValue& to) {
    to.set_key(key);
    to.set_value(value.text);
    to.set_create_revision(value.created);
    to.set_mod_revision(value.changed);
    to.set_version(value.version);
    to.set_lease(value.lease);
  }
  void set(const std::string& key, const std::string& text, std::int64_t lease) {
    Value& value = keys_[key];
    if (value.created == 0) value.created = revision_;
    value.text = text;
    value.changed = revision_;
    ++value.version;
    value.lease = lease;
    fill(key, value, *event().mutable_kv());
  }
  bool erase(const std::string& key) {
    if (keys_.erase(key) == 0) return false;
    rpc::Event& told = event();
    told.set_type(rpc::Event::DELETE);
    told.mutable_kv()->set_key(key);
    return true;
  }
  rpc::Event& event() { return *told_.add_events(); }
  void publish() {
    history_.emplace_back(revision_, std::exchange(told_, {}));
    for (const auto& [id, watcher] : watchers)
      tell(watcher, history_.back().second);
  }
  static void tell(const Watcher& watcher, const rpc::WatchResponse& all) {
    rpc::WatchResponse mine;
    for (const rpc::Event& each : all.events())
      if (each.kv().key().starts_with(watcher.prefix)) *mine.add_events() = each;
    if (mine.events_size() != 0) watcher.tell(mine);
  }

  Agenda& agenda_;
  std::map<std::string, Value> keys_;
  std::map<std::int64_t, Lease> leases_;
  rpc::WatchResponse told_;
  std::vector<std::pair<std::int64_t, rpc::WatchResponse>> history_;
  int watchers_made_ = 0;
  std::int64_t revision_ = 1;
  std::int64_t leases_made_ = 100;
};

// One server's line to it.
class FakeLine final : public etcd::Client {
 public:
  FakeLine(Agenda& agenda, FakeEtcd& store) : agenda_(agenda), store_(store) {}

  bool cut_there = false;        // nothing arrives at etcd
  bool cut_back = false;         // it does, but no answer comes back
  TimeNs there_ns = lease::kMs;  // how long a message is on its way
  TimeNs back_ns = lease::kMs;
  // While its process is stopped, what arrives waits.
  bool frozen = false;
  void thaw() {
    frozen = false;
    for (auto& each : std::exchange(waiting_, {}))
      each();
  }
  // What a watch would have told meanwhile is lost, and it says so.
  void cut(bool there, bool back) {
    cut_there = there;
    if (std::exchange(cut_back, back) && !back && lost_) std::exchange(lost_, nullptr)();
  }

  void txn(rpc::TxnRequest request, Ms deadline, TxnDone done) override {
    call<rpc::TxnResponse>(
        deadline, [this, request = std::move(request)] { return store_.txn(request); },
        std::move(done));
  }
  void grant(std::int64_t ttl_s, Ms deadline, GrantDone done) override {
    call<std::int64_t>(
        deadline, [this, ttl_s] { return store_.grant(ttl_s); },
        [ttl_s, done = std::move(done)](const etcd::Status& status, std::int64_t id) {
          done(status, id, ttl_s);
        });
  }
  void keep_alive(std::int64_t id, Ms deadline, TtlDone done) override {
    call<std::int64_t>(
        deadline, [this, id] { return store_.renew(id); }, std::move(done));
  }
  void revoke(std::int64_t id, Ms deadline, Done done) override {
    call<int>(
        deadline,
        [this, id] {
          store_.revoke(id);
          return 0;
        },
        [done = std::move(done)](const etcd::Status& status, int) {
          if (done) done(status);
        });
  }
  std::unique_ptr<etcd::Watch> watch(const std::string& prefix, std::int64_t from, OnEvents events,
                                     std::function<void(std::string)> lost) override {
    struct Handle final : etcd::Watch {
      Handle(FakeEtcd& store, int number, std::shared_ptr<bool> wanted)
          : store_(store), number_(number), wanted_(std::move(wanted)) {}
      ~Handle() override {
        *wanted_ = false;
        store_.watchers.erase(number_);
      }
      FakeEtcd& store_;
      int number_;
      std::shared_ptr<bool> wanted_;
    };
    auto wanted = std::make_shared<bool>(true);
    lost_ = [this, wanted, lost = std::move(lost)] {
      arrive([wanted, lost] {
        if (*wanted) lost("the stream ended");
      });
    };
    const auto tell = [this, wanted, events](const rpc::WatchResponse& told) {
      if (cut_back) return;
      agenda_.at(agenda_.now_ns + back_ns, [this, wanted, events, told] {
        arrive([wanted, events, told] {
          if (*wanted) events(told);
        });
      });
    };
    const int number = store_.add_watch({prefix, tell}, from);
    return std::make_unique<Handle>(store_, number, wanted);
  }
  std::string endpoint() const override { return "fake:2379"; }

 private:
  template <class Answer>
  void call(Ms deadline, std::function<Answer()> at_etcd,
            std::function<void(const etcd::Status&, const Answer&)> done) {
    auto open = std::make_shared<bool>(true);
    const auto end = [this, open, done](const etcd::Status& status, const Answer& answer) {
      arrive([open, done, status, answer] {
        if (std::exchange(*open, false)) done(status, answer);
      });
    };
    if (!cut_there) {
      agenda_.at(agenda_.now_ns + there_ns, [this, at_etcd = std::move(at_etcd), end] {
        const Answer answer = at_etcd();
        if (cut_back) return;
        agenda_.at(agenda_.now_ns + back_ns, [end, answer] {
          end({etcd::Status::Code::ok, {}}, answer);
        });
      });
    }
    agenda_.at(agenda_.now_ns + deadline.count() * lease::kMs, [end] {
      end({etcd::Status::Code::unknown, "deadline"}, Answer());
    });
  }
  void arrive(std::function<void()> what) {
    if (frozen)
      waiting_.push_back(std::move(what));
    else
      what();
  }

  Agenda& agenda_;
  FakeEtcd& store_;
  std::vector<std::function<void()>> waiting_;
  std::function<void()> lost_;
};

}  // namespace weir::test
