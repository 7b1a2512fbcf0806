// The quotas' records and chunks in etcd, where several servers share the namespaces.
//
//   <prefix>/quota/<namespace>/r/<name>\n<key>             a record
//   <prefix>/quota/<namespace>/h/<name>\n<key>\0<agent>    what one start of an agent has of it
//   <prefix>/quota/<namespace>/a/<agent>/<name>\n<key>     that it has some; its host
//
// Everything that one decision of the book changes is one transaction, which compares the owner's
// key (fence.h) and the revision of the record: an owner that was replaced changes nothing. Many
// decisions share a transaction, as far as etcd's bound on operations goes; one whose comparison
// fails does not stop the others.
//
// A transaction that had no answer is reported as `unknown`, and the book sends the same again: the
// record names the transaction that put it, so that one that was done is seen.
//
// One thread, that of the client. The lines for the audit log go to the server's own file after
// etcd has the rest: a server that is killed in between has granted and not said so there.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "server/etcd/client.h"
#include "server/etcd/fence.h"
#include "server/store/store.h"

namespace weir::server::etcd {

struct QuotaStoreOptions {
  std::string prefix;
  FenceOf fence;
  Post post;
  AuditLog* audit = nullptr;          // none: events are not kept
  std::size_t operations_max = 128;   // of a transaction; etcd's --max-txn-ops
  std::size_t in_flight_max = 8;      // transactions of all namespaces
  std::size_t commits_max = 200'000;  // that wait; more are refused as failed
};

class EtcdQuotaStore final : public QuotaStore {
 public:
  EtcdQuotaStore(Client& client, QuotaStoreOptions options);
  ~EtcdQuotaStore() override;
  EtcdQuotaStore(const EtcdQuotaStore&) = delete;
  EtcdQuotaStore& operator=(const EtcdQuotaStore&) = delete;

  StoreStats stats() const override;
  void commit(const std::string& name_space,
              std::shared_ptr<const lease::QuotaTransaction> transaction,
              std::function<void(const CommitResult&)> done) override;
  void load(const std::string& name_space, const std::string& key,
            std::function<void(LoadResult)> done) override;
  void agents(const std::string& name_space, std::function<void(AgentResult)> done) override;
  void keys_of(const std::string& name_space, std::uint64_t agent_epoch, const std::string& after,
               std::uint32_t rows_max, std::function<void(KeysResult)> done) override;
  void page(const QuotaQuery& query, std::function<void(QuotaPage)> done) override;

 private:
  using Transaction = std::shared_ptr<const lease::QuotaTransaction>;
  using Done = std::function<void(const CommitResult&)>;
  struct Commit {
    Transaction transaction;
    Done done;
    std::uint64_t serial = 0;
    bool sent_before = false;  // and that may still be done
  };
  struct Batch {
    std::string name_space;
    Fence fence;
    std::vector<Commit> commits;
  };
  // What is known of a namespace while one and the same fence stands.
  struct Space {
    std::int64_t create_revision = 0;
    std::deque<Commit> waiting;
    bool in_turn = false;
    std::unordered_set<std::string> indexed;  // keys a/... that are there
  };
  struct Unsure {
    std::weak_ptr<const lease::QuotaTransaction> transaction;
    std::uint64_t serial = 0;
  };
  struct Page;
  using Ranged = std::function<void(const std::string& why, const rpc::RangeResponse&)>;

  std::string root(const std::string& name_space) const;
  Space& space(const std::string& name_space, const Fence& fence);
  void send_waiting();
  void send(Batch batch);
  std::size_t add(rpc::TxnRequest& request, Space& known, const std::string& root,
                  const Commit& one);
  void on_answer(Batch& batch, const Status& status, const rpc::TxnResponse& response);
  void sort_out(Batch& batch, const rpc::TxnResponse& response);
  void note_indexed(Space& known, const std::string& root, const lease::QuotaTransaction& one);
  void tell(const std::string& name_space, Commit& one, const CommitResult& result);
  void flush_told();
  std::uint64_t serial_of(const Transaction& transaction, bool& sent_before);
  void read(rpc::TxnRequest request, int tries,
            std::function<void(const std::string& why, const rpc::TxnResponse&)> done);
  void range(const std::string& from, const std::string& to, std::int64_t limit, bool keys_only,
             Ranged done);
  void next_agent(const std::string& root, const std::string& from,
                  std::shared_ptr<AgentResult> result,
                  const std::function<void(AgentResult)>& done);
  void next_rows(std::shared_ptr<Page> page);

  Client& client_;
  const QuotaStoreOptions options_;
  std::uint64_t writer_ = 0;  // a number of this start's own
  std::uint64_t serials_ = 0;
  std::map<std::string, Space> spaces_;
  std::deque<std::string> turns_;  // namespaces with something to send
  std::unordered_map<const lease::QuotaTransaction*, Unsure> unsure_;
  // Done, but the audit log has no room for their lines yet.
  struct Told {
    std::vector<AuditRow> rows;
    Done done;
    CommitResult result;
  };
  std::deque<Told> told_;
  bool asked_for_space_ = false;
  std::size_t waiting_ = 0;
  std::size_t in_flight_ = 0;
  bool sending_ = false;
  StoreStats stats_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace weir::server::etcd
