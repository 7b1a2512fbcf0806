// An agent that says what a test tells it to say.
#pragma once

#include <boost/asio/io_context.hpp>
#include <optional>
#include <string>

#include "net/lease_wire.h"
#include "server/wire.h"
#include "tests/unit/net/loop.h"

namespace weir::server {

using net::run_for;
using net::run_until;
using namespace std::chrono_literals;

inline constexpr char kToken[] = "test";
inline constexpr char kTokenHash[] =
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

class RawAgent {
 public:
  RawAgent(boost::asio::io_context& io, const std::string& address,
           const std::string& host_name = "web-1", std::uint64_t epoch = 1)
      : host(host_name), agent_epoch(epoch), io_(io), peer_(address) {}

  void send(const v1::ToServer& message) { peer_.send(net::frame_of(message)); }
  // The first message of a kind that has not been taken yet.
  template <class Has>
  std::optional<v1::ToAgent> take(Has has, std::chrono::milliseconds limit = 5s) {
    std::optional<v1::ToAgent> found;
    run_until(
        io_,
        [&] {
          ended_ = peer_.ended() || ended_;
          for (auto at = peer_.received.begin(); at != peer_.received.end(); ++at) {
            if (!has(*at)) continue;
            found = *at;
            peer_.received.erase(at);
            return true;
          }
          return ended_;
        },
        limit);
    return found;
  }
  bool ends() {
    return run_until(io_, [&] { return ended_ = peer_.ended() || ended_; });
  }
  bool silent(std::chrono::milliseconds time = 50ms) {
    run_for(io_, time);
    ended_ = peer_.ended() || ended_;
    return peer_.received.empty() && !ended_;
  }

  v1::ToServer hello() {
    v1::ToServer message;
    v1::Hello& out = *message.mutable_hello();
    out.set_protocol_major(net::kProtocolMajor);
    out.set_version("test");
    out.set_namespace_name(name_space);
    out.set_host(host);
    out.set_token(token);
    out.set_agent_epoch(agent_epoch);
    out.set_hello_no(++hello_no);
    out.set_prev_session(session);
    out.set_epoch_seen(epoch_seen);
    return message;
  }
  // The welcome, if it came.
  std::optional<v1::Welcome> greet() { return greet(hello()); }
  std::optional<v1::Welcome> greet(const v1::ToServer& message) {
    send(message);
    const auto got = take([](const v1::ToAgent& m) { return m.has_welcome() || m.has_refused(); });
    if (!got || got->has_refused()) {
      if (got) refusal = got->refused();
      return std::nullopt;
    }
    session = got->welcome().session();
    return got->welcome();
  }
  std::optional<v1::Rules> rules(std::chrono::milliseconds limit = 5s) {
    const auto got = take([](const v1::ToAgent& m) { return m.has_rules(); }, limit);
    return got ? std::optional(got->rules()) : std::nullopt;
  }
  // A heartbeat that wants `tokens_per_s` of a limit, and its answer.
  std::optional<lease::Answer> ask(const std::string& limit, lease::Micro tokens_per_s,
                                   lease::Micro need = 0) {
    lease::Request request{session, ++seq, accepted_seq, {}};
    if (!limit.empty()) {
      lease::Want want;
      want.limit = lease::limit_id(limit);
      want.rate = tokens_per_s * lease::kToken;
      want.need = need * lease::kToken;
      want.keep_rate = want.keep_burst = lease::kMicroMax;
      request.wants.push_back(want);
    }
    return exchange(request);
  }
  std::optional<lease::Answer> exchange(const lease::Request& request,
                                        std::chrono::milliseconds limit = 5s) {
    v1::ToServer message;
    to_wire(request, *message.mutable_request());
    send(message);
    const auto got = take([](const v1::ToAgent& m) { return m.has_answer(); }, limit);
    lease::Answer answer;
    if (!got || !from_wire(got->answer(), answer)) return std::nullopt;
    accepted_seq = answer.seq;
    return answer;
  }

  std::string name_space = "shop";
  std::string host;
  std::string token = kToken;
  std::uint64_t agent_epoch;
  std::uint64_t hello_no = 0;
  std::uint64_t session = 0;
  std::uint64_t epoch_seen = 0;
  std::uint64_t seq = 0;
  std::uint64_t accepted_seq = 0;
  v1::Refused refusal;

 private:
  boost::asio::io_context& io_;
  net::RawPeer peer_;
  bool ended_ = false;
};

}  // namespace weir::server
