// The admin socket: protobuf requests of an operator's tools. See proto/weir/v1/admin.proto.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "weir/v1/admin.pb.h"

namespace weir::agent {

inline constexpr std::size_t kAdminSessionsMax = 32;
inline constexpr int kAdminIdleSeconds = 60;

class AdminServer {
 public:
  // Takes the answer, now or later, once. Later it may find that nobody waits any more.
  using Reply = std::function<void(v1::AdminResponse)>;
  // `may_change`: root or the agent's own user. Others are told that they may only read.
  using Handler = std::function<void(const v1::AdminRequest&, bool may_change, Reply)>;
  // Whether a user may read at all, by uid, gid and further groups, as the kernel says.
  using Reader = std::function<bool(int fd)>;

  AdminServer(boost::asio::io_context& io, Handler handler, Reader may_read);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  [[nodiscard]] std::string listen(const std::string& path) noexcept;
  void close() noexcept;

 private:
  class Session;
  void accept();

  boost::asio::io_context& io_;
  Handler handler_;
  Reader may_read_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  std::string path_;
  std::unordered_set<std::shared_ptr<Session>> sessions_;
};

}  // namespace weir::agent
