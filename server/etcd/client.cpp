// The one source that includes gRPC. Its threads only carry answers over to the io_context's;
// everything else happens there.
#include "server/etcd/client.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <mutex>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "etcd/rpc.grpc.pb.h"

namespace weir::server::etcd {
namespace {

using Ms = Client::Ms;

constexpr int kReconnectLeastMs = 100;
constexpr int kReconnectMostMs = 1'000;
// etcd closes connections that ping more often than every 5 s.
constexpr int kPingAfterMs = 10'000;
constexpr int kPongMs = 3'000;
constexpr int kMessageBytesMax = 64 << 20;
constexpr std::size_t kCallsWaitingMax = 100'000;  // for a token

// By a clock that nobody sets: a step of the time of day must not end a call, nor prolong it.
gpr_timespec deadline_in(Ms time) noexcept {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_millis(time.count(), GPR_TIMESPAN));
}

std::string read_file(const std::string& path, std::string& text) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream all;
  if (!file || !(all << file.rdbuf())) return "etcd: " + path + " cannot be read";
  text = all.str();
  return {};
}

bool has(const grpc::Status& status, const char* words) {
  return status.error_message().find(words) != std::string::npos;
}

Status::Code code_of(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return Status::Code::ok;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return Status::Code::refused;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      // gRPC's own word when the answer is too large: then it has been done.
      return has(status, "larger than max") ? Status::Code::unknown : Status::Code::refused;
    default:
      return Status::Code::unknown;
  }
}

// Users or roles were changed, or the member was started again: a new token is taken. These calls
// were surely not done.
bool token_is_old(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT &&
          (has(status, "revision of auth store is old") || has(status, "user name is empty")));
}

// How calls that gRPC's threads end are told to ours. The client waits for all of them before it
// goes, so that no callback finds its call gone.
struct Bridge {
  explicit Bridge(boost::asio::io_context& io_context) : io(io_context) {}

  void begin() {
    const std::lock_guard lock(mutex);
    ++open;
  }
  void end() {
    const std::lock_guard lock(mutex);
    if (--open == 0) none.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    none.wait(lock, [this] { return open == 0; });
  }

  boost::asio::io_context& io;
  std::mutex mutex;
  std::condition_variable none;
  std::size_t open = 0;
  bool dead = false;  // the io_context's thread alone
};

struct Endpoint {
  std::string address;
  std::unique_ptr<rpc::KV::Stub> kv;
  std::unique_ptr<rpc::Lease::Stub> lease;
  std::unique_ptr<rpc::Watch::Stub> watch;
  std::unique_ptr<rpc::Auth::Stub> auth;
};

struct Call {
  virtual ~Call() = default;
  grpc::ClientContext context;
};

template <class Request, class Response>
struct Unary final : Call {
  Request request;
  Response response;
};

// One keep-alive: a stream with one message each way, so that it has a deadline like any call.
struct KeepAlive final
    : Call,
      grpc::ClientBidiReactor<rpc::LeaseKeepAliveRequest, rpc::LeaseKeepAliveResponse> {
  void OnReadDone(bool ok) override { answered = ok; }
  // The call may be gone, on the other thread, before `on_done` returns.
  void OnDone(const grpc::Status& status) override { std::exchange(on_done, nullptr)(status); }

  rpc::LeaseKeepAliveRequest request;
  rpc::LeaseKeepAliveResponse response;
  bool answered = false;
  std::function<void(const grpc::Status&)> on_done;
};

struct Stream final : Call, grpc::ClientBidiReactor<rpc::WatchRequest, rpc::WatchResponse> {
  void OnReadDone(bool ok) override {
    if (!ok) return;
    on_read(response);
    StartRead(&response);
  }
  // The call may be gone, on the other thread, before `on_done` returns.
  void OnDone(const grpc::Status& status) override { std::exchange(on_done, nullptr)(status); }

  rpc::WatchRequest request;
  rpc::WatchResponse response;
  std::string reason;  // etcd's, for which it ended the watch; the io_context's thread alone
  std::function<void(const rpc::WatchResponse&)> on_read;
  std::function<void(const grpc::Status&)> on_done;
};

class GrpcClient;

class GrpcWatch final : public Watch {
 public:
  GrpcWatch(std::shared_ptr<Stream> stream, std::shared_ptr<bool> wanted)
      : stream_(std::move(stream)), wanted_(std::move(wanted)) {}
  ~GrpcWatch() override {
    *wanted_ = false;
    if (stream_) stream_->context.TryCancel();
  }

 private:
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<bool> wanted_;
};

class GrpcClient final : public Client {
 public:
  GrpcClient(boost::asio::io_context& io, ClientOptions options, std::vector<Endpoint> endpoints)
      : bridge_(std::make_shared<Bridge>(io)),
        options_(std::move(options)),
        endpoints_(std::move(endpoints)) {}

  ~GrpcClient() override {
    bridge_->dead = true;
    for (const auto& [no, call] : calls_)
      call->context.TryCancel();
    bridge_->wait();
  }

  void txn(rpc::TxnRequest request, Ms deadline, TxnDone done) override {
    start<rpc::TxnRequest, rpc::TxnResponse>(
        std::move(request), deadline_in(deadline), std::move(done),
        [](Endpoint& to, auto& call, auto then) {
          to.kv->async()->Txn(&call.context, &call.request, &call.response, std::move(then));
        });
  }

  void grant(std::int64_t ttl_s, Ms deadline, GrantDone done) override {
    rpc::LeaseGrantRequest request;
    request.set_ttl(ttl_s);
    start<rpc::LeaseGrantRequest, rpc::LeaseGrantResponse>(
        std::move(request), deadline_in(deadline),
        [done = std::move(done)](const Status& status, const rpc::LeaseGrantResponse& response) {
          done(status, response.id(), response.ttl());
        },
        [](Endpoint& to, auto& call, auto then) {
          to.lease->async()->LeaseGrant(&call.context, &call.request, &call.response,
                                        std::move(then));
        });
  }

  void revoke(std::int64_t id, Ms deadline, Done done) override {
    rpc::LeaseRevokeRequest request;
    request.set_id(id);
    start<rpc::LeaseRevokeRequest, rpc::LeaseRevokeResponse>(
        std::move(request), deadline_in(deadline),
        [done = std::move(done)](const Status& status, const rpc::LeaseRevokeResponse&) {
          if (done) done(status);
        },
        [](Endpoint& to, auto& call, auto then) {
          to.lease->async()->LeaseRevoke(&call.context, &call.request, &call.response,
                                         std::move(then));
        });
  }

  void keep_alive(std::int64_t id, Ms deadline, TtlDone done) override {
    keep_alive_until(id, deadline_in(deadline), std::move(done), false);
  }
  std::unique_ptr<Watch> watch(const std::string& prefix, std::int64_t from_revision,
                               OnEvents events, std::function<void(std::string)> lost) override;
  std::string endpoint() const override { return endpoints_[current_].address; }

 private:
  void keep_alive_until(std::int64_t id, gpr_timespec until, TtlDone done, bool again);
  void begin_watch(const std::shared_ptr<Stream>& call, const std::shared_ptr<bool>& wanted,
                   const OnEvents& events, const std::function<void(std::string)>& lost);
  void prepare(grpc::ClientContext& context) const {
    // A member that has lost its leader says so at once in place of being silent.
    context.AddMetadata("hasleader", "true");
    if (!token_.empty()) context.AddMetadata("token", token_);
  }

  std::uint64_t keep(std::shared_ptr<Call> call) {
    calls_[++no_] = std::move(call);
    bridge_->begin();
    return no_;
  }

  // On our thread, from theirs.
  template <class Then>
  static void post(const std::shared_ptr<Bridge>& bridge, Then then) {
    boost::asio::post(bridge->io, [bridge, then = std::move(then)]() mutable {
      if (!bridge->dead) then();
    });
    bridge->end();
  }

  // A member that gave no answer, or has no leader, is asked no more until it is its turn again.
  Status settle(std::size_t asked, const grpc::Status& status) {
    Status result{code_of(status), {}};
    if (result.ok()) return result;
    result.text = endpoints_[asked].address + ": " + status.error_message();
    // A member that is still learning takes no calls at all.
    if (result.code == Status::Code::unknown || has(status, "learner")) leave(asked);
    return result;
  }

  void leave(std::size_t asked) {
    if (asked != current_ || endpoints_.size() < 2) return;
    current_ = (current_ + 1) % endpoints_.size();
    // Streams to it would perhaps be silent for ever.
    for (const auto& [no, at] : streams_)
      if (const auto call = calls_.find(no); at == asked && call != calls_.end())
        call->second->context.TryCancel();
  }

  template <class Request, class Response, class Done, class Begin>
  void start(Request request, gpr_timespec until, Done done, Begin begin, bool again = false) {
    if (!options_.user.empty() && token_.empty()) {
      return with_token([this, request = std::move(request), until, done = std::move(done), begin,
                         again](const Status& status) mutable {
        if (!status.ok()) return done(status, Response());
        start<Request, Response>(std::move(request), until, std::move(done), begin, again);
      });
    }
    auto call = std::make_shared<Unary<Request, Response>>();
    call->request = std::move(request);
    call->context.set_deadline(until);
    prepare(call->context);
    const std::uint64_t no = keep(call);
    const std::size_t asked = current_;
    begin(endpoints_[asked], *call,
          [this, bridge = bridge_, no, asked, until, done = std::move(done), begin, again,
           call = call.get()](const grpc::Status& status) mutable {
            post(bridge, [this, no, asked, until, done = std::move(done), begin, again, call,
                          status]() mutable {
              const auto held = calls_.at(no);
              calls_.erase(no);
              if (token_is_old(status) && !again) {
                token_.clear();
                return start<Request, Response>(std::move(call->request), until, std::move(done),
                                                begin, true);
              }
              done(settle(asked, status), call->response);
            });
          });
  }

  void with_token(std::function<void(const Status&)> then);

  std::shared_ptr<Bridge> bridge_;
  const ClientOptions options_;
  std::vector<Endpoint> endpoints_;
  std::size_t current_ = 0;
  std::uint64_t no_ = 0;
  std::unordered_map<std::uint64_t, std::shared_ptr<Call>> calls_;
  std::unordered_map<std::uint64_t, std::size_t> streams_;  // and where they go
  std::string token_;
  std::deque<std::function<void(const Status&)>> want_token_;
};

// One question for a token at a time; whoever needs one waits for it.
void GrpcClient::with_token(std::function<void(const Status&)> then) {
  if (want_token_.size() >= kCallsWaitingMax)
    return then({Status::Code::refused, "too many calls wait for etcd to know us"});
  want_token_.push_back(std::move(then));
  if (want_token_.size() > 1) return;
  auto call = std::make_shared<Unary<rpc::AuthenticateRequest, rpc::AuthenticateResponse>>();
  call->request.set_name(options_.user);
  call->request.set_password(options_.password);
  call->context.set_deadline(deadline_in(Ms(1'000)));
  const std::uint64_t no = keep(call);
  const std::size_t asked = current_;
  endpoints_[asked].auth->async()->Authenticate(
      &call->context, &call->request, &call->response,
      [this, bridge = bridge_, no, asked, call = call.get()](const grpc::Status& status) {
        post(bridge, [this, no, asked, call, status] {
          const auto held = calls_.at(no);
          calls_.erase(no);
          Status result = settle(asked, status);
          if (result.ok()) {
            token_ = call->response.token();
          } else {
            result.text += " (user " + options_.user + ")";
          }
          for (const auto& each : std::exchange(want_token_, {}))
            each(result);
        });
      });
}

void GrpcClient::keep_alive_until(std::int64_t id, gpr_timespec until, TtlDone done, bool again) {
  if (!options_.user.empty() && token_.empty()) {
    return with_token([this, id, until, again, done = std::move(done)](const Status& status) {
      status.ok() ? keep_alive_until(id, until, done, again) : done(status, 0);
    });
  }
  auto call = std::make_shared<KeepAlive>();
  call->request.set_id(id);
  call->context.set_deadline(until);
  prepare(call->context);
  const std::uint64_t no = keep(call);
  const std::size_t asked = current_;
  call->on_done = [this, bridge = bridge_, no, asked, id, until, again, call = call.get(),
                   done = std::move(done)](const grpc::Status& status) {
    post(bridge, [this, no, asked, id, until, again, call, done, status] {
      const auto held = calls_.at(no);
      calls_.erase(no);
      if (call->answered) return done({Status::Code::ok, {}}, call->response.ttl());
      if (token_is_old(status)) {
        token_.clear();
        if (!again) return keep_alive_until(id, until, done, true);
      }
      // A stream that ended without an answer was not kept alive, whatever its status.
      Status result = settle(asked, status);
      if (result.ok()) result = {Status::Code::unknown, endpoints_[asked].address + ": no answer"};
      done(result, 0);
    });
  };
  endpoints_[asked].lease->async()->LeaseKeepAlive(&call->context, call.get());
  call->StartWriteLast(&call->request, grpc::WriteOptions());
  call->StartRead(&call->response);
  call->StartCall();
}

std::unique_ptr<Watch> GrpcClient::watch(const std::string& prefix, std::int64_t from_revision,
                                         OnEvents events, std::function<void(std::string)> lost) {
  auto wanted = std::make_shared<bool>(true);
  auto call = std::make_shared<Stream>();
  rpc::WatchCreateRequest& create = *call->request.mutable_create_request();
  create.set_key(prefix);
  create.set_range_end(prefix_end(prefix));
  create.set_start_revision(from_revision);
  auto handle = std::make_unique<GrpcWatch>(call, wanted);
  if (options_.user.empty() || !token_.empty()) {
    begin_watch(call, wanted, events, lost);
    return handle;
  }
  with_token([this, call, wanted, events = std::move(events),
              lost = std::move(lost)](const Status& status) {
    if (!*wanted) return;
    status.ok() ? begin_watch(call, wanted, events, lost) : lost(status.text);
  });
  return handle;
}

void GrpcClient::begin_watch(const std::shared_ptr<Stream>& call,
                             const std::shared_ptr<bool>& wanted, const OnEvents& events,
                             const std::function<void(std::string)>& lost) {
  prepare(call->context);
  const std::uint64_t no = keep(call);
  const std::size_t asked = current_;
  streams_[no] = asked;
  call->on_read = [bridge = bridge_, wanted, call = call.get(),
                   events](const rpc::WatchResponse& response) {
    boost::asio::post(bridge->io, [bridge, wanted, call, events, response] {
      if (bridge->dead || !*wanted) return;
      if (response.canceled()) {
        // Told by the end of the stream, as everything else that ends it.
        call->reason =
            response.cancel_reason().empty() ? "etcd ended it" : response.cancel_reason();
        if (response.compact_revision() != 0)
          call->reason += " (compacted at " + std::to_string(response.compact_revision()) + ")";
        return call->context.TryCancel();
      }
      if (response.events_size() > 0) events(response);
    });
  };
  call->on_done = [this, bridge = bridge_, no, asked, wanted, call = call.get(),
                   lost](const grpc::Status& status) {
    post(bridge, [this, no, asked, wanted, call, lost, status] {
      const auto held = calls_.at(no);
      calls_.erase(no);
      streams_.erase(no);
      if (!*wanted) return;
      if (token_is_old(status) || call->reason.find("auth") != std::string::npos) token_.clear();
      // The member is well, and other streams to it go on.
      if (!call->reason.empty()) return lost(endpoints_[asked].address + ": " + call->reason);
      const Status result = settle(asked, status);
      lost(result.ok() ? endpoints_[asked].address + ": the stream ended" : result.text);
    });
  };
  endpoints_[asked].watch->async()->Watch(&call->context, call.get());
  call->StartWrite(&call->request);
  call->StartRead(&call->response);
  call->StartCall();
}

}  // namespace

std::string make_client(boost::asio::io_context& io, const ClientOptions& options,
                        std::unique_ptr<Client>& client) {
  if (options.endpoints.empty()) return "etcd: no endpoints";
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (options.tls) {
    grpc::SslCredentialsOptions tls;
    for (auto [path, text] : {std::pair{&options.ca_file, &tls.pem_root_certs},
                              std::pair{&options.certificate_file, &tls.pem_cert_chain},
                              std::pair{&options.key_file, &tls.pem_private_key}})
      if (std::string error = read_file(*path, *text); !error.empty()) return error;
    credentials = grpc::SslCredentials(tls);
  }
  std::vector<Endpoint> endpoints;
  for (const std::string& address : options.endpoints) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectLeastMs);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMostMs);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMostMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingAfterMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPongMs);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // what a proxy does with leases is unknown
    arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
    const auto channel = grpc::CreateCustomChannel(address, credentials, arguments);
    endpoints.push_back({address, rpc::KV::NewStub(channel), rpc::Lease::NewStub(channel),
                         rpc::Watch::NewStub(channel), rpc::Auth::NewStub(channel)});
  }
  client = std::make_unique<GrpcClient>(io, options, std::move(endpoints));
  return {};
}

}  // namespace weir::server::etcd
