// What weir-server asks of etcd: transactions, leases, watches.
//
// All calls return at once, on the thread of the io_context; what comes of them is told on it. A
// call goes to one of the endpoints; one that does not answer is left for the next. Nothing is
// sent twice by itself: whether a transaction whose outcome is unknown may be sent again, only its
// sender knows. When the client goes, it waits for its calls to end; what comes of them is not told
// any more.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etcd/rpc.pb.h"

namespace boost::asio {
class io_context;
}

namespace weir::server::etcd {

namespace rpc = etcdserverpb;

struct ClientOptions {
  std::vector<std::string> endpoints;  // host:port, [::1]:port
  bool tls = false;
  std::string ca_file;  // PEM; empty: the system's
  std::string certificate_file;
  std::string key_file;
  std::string user;  // empty: none
  std::string password;
};

struct Status {
  enum class Code : std::uint8_t {
    ok,
    refused,  // surely not done: wrong credentials, a lease that is not there, a malformed request
    unknown,  // no answer: perhaps done, perhaps not
  };
  Code code = Code::unknown;
  std::string text;

  bool ok() const noexcept { return code == Code::ok; }
};

class Watch {
 public:
  virtual ~Watch() = default;  // nothing is called any more
};

class Client {
 public:
  using Ms = std::chrono::milliseconds;
  using TxnDone = std::function<void(const Status&, const rpc::TxnResponse&)>;
  // What is left of the lease's time to live; 0: there is no such lease any more.
  using TtlDone = std::function<void(const Status&, std::int64_t ttl_s)>;
  using GrantDone = std::function<void(const Status&, std::int64_t id, std::int64_t ttl_s)>;
  using Done = std::function<void(const Status&)>;
  // The events of one or more revisions, in their order.
  using OnEvents = std::function<void(const rpc::WatchResponse&)>;

  virtual ~Client() = default;

  virtual void txn(rpc::TxnRequest request, Ms deadline, TxnDone done) = 0;
  virtual void grant(std::int64_t ttl_s, Ms deadline, GrantDone done) = 0;
  virtual void keep_alive(std::int64_t id, Ms deadline, TtlDone done) = 0;
  virtual void revoke(std::int64_t id, Ms deadline, Done done) = 0;
  // Keys that begin with `prefix`, from that revision on. `lost` is called once, when the stream
  // has ended for whatever reason, a compacted revision among them: then what is there must be
  // read anew.
  virtual std::unique_ptr<Watch> watch(const std::string& prefix, std::int64_t from_revision,
                                       OnEvents events, std::function<void(std::string)> lost) = 0;
  // Which one is asked now; for the log.
  virtual std::string endpoint() const = 0;
};

// Empty, or what is wrong with a file that the options name.
std::string make_client(boost::asio::io_context& io, const ClientOptions& options,
                        std::unique_ptr<Client>& client);

// ---- building requests

// The first key behind all that begin with the prefix.
std::string prefix_end(std::string prefix);

rpc::RangeRequest& add_get(rpc::TxnRequest& request, const std::string& key);
rpc::RangeRequest& add_get_prefix(rpc::TxnRequest& request, const std::string& prefix);
void add_put(rpc::TxnRequest& request, const std::string& key, const std::string& value,
             std::int64_t lease = 0);
void add_delete(rpc::TxnRequest& request, const std::string& key);
// The key is there and was created then; 0: it is not there.
void require_created(rpc::TxnRequest& request, const std::string& key, std::int64_t revision);
// The key was put so often since it was created; 0: it is not there.
void require_version(rpc::TxnRequest& request, const std::string& key, std::int64_t version);

}  // namespace weir::server::etcd
