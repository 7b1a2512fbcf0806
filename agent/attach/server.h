// One domain's attach socket: hands out its segments, keeps the list of clients, forgets the dead.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/attach/peer.h"
#include "agent/attach/quota.h"
#include "agent/domain.h"
#include "shm/frame.h"

namespace weir::agent {

inline constexpr std::int64_t kHelloDeadlineNs = 1'000'000'000;
// Connections that have not said hello yet, beyond the clients.
inline constexpr std::uint32_t kHalfOpenMax = 128;
inline constexpr int kFramesPerWakeMax = 64;

struct ClientInfo {
  std::uint32_t id = 0;  // also its place among the waiter cells
  bool attached = false;
  Peer peer;
  std::string label;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::int64_t since_ns = 0;
  std::uint64_t doorbells_total = 0;
};

struct AttachStats {
  std::uint64_t attached_total = 0;
  std::uint64_t refused_total = 0;
  std::uint64_t reaped_total = 0;
  std::uint64_t malformed_total = 0;
};

class AttachServer {
 public:
  // `rang` is called when a client's bucket ran dry while the agent slept.
  AttachServer(boost::asio::io_context& io, Domain& domain, std::uint64_t agent_epoch,
               MonoClock clock, std::function<void()> rang);
  ~AttachServer();
  AttachServer(const AttachServer&) = delete;
  AttachServer& operator=(const AttachServer&) = delete;

  // Listens at `path`, or on a socket that a service manager already opened there. The error text
  // is empty on success.
  [[nodiscard]] std::string listen(const std::string& path, shm::Fd inherited) noexcept;
  void set_access(const DomainRule& rule);
  void close() noexcept;
  // Drops connections that never said hello. Called about once a second.
  void sweep();

  const AttachStats& stats() const { return stats_; }
  std::vector<const ClientInfo*> clients() const;
  std::uint32_t client_count() const { return client_count_; }
  const std::string& path() const { return path_; }

 private:
  struct Connection;
  void wait_accept();
  void accept_some();
  void admit(shm::Fd fd);
  void wait_readable(const std::shared_ptr<Connection>& connection);
  void wait_death(const std::shared_ptr<Connection>& connection);
  void read_frames(const std::shared_ptr<Connection>& connection);
  bool handle(Connection& connection, const std::byte* packet, std::size_t bytes);
  bool welcome(Connection& connection, const shm::Frame& hello);
  void hold(Connection& connection, std::uint32_t slot, std::uint32_t generation);
  void handle_quota(Connection& connection, const std::byte* packet, const shm::Frame& frame,
                    const shm::QuotaFrameTail& tail);
  bool malformed(Connection& connection, std::size_t bytes);
  void refuse(int fd, shm::Refusal why);
  void drop(const std::shared_ptr<Connection>& connection);
  std::uint32_t free_id() const;

  boost::asio::io_context& io_;
  Domain& domain_;
  std::uint64_t agent_epoch_;
  MonoClock clock_;
  std::function<void()> rang_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer pause_;
  std::string path_;
  bool owns_path_ = false;
  Access access_;
  AttachQuota quota_;
  AttachStats stats_;
  std::uint32_t client_count_ = 0;
  std::int64_t mono_offset_ns_;
  std::vector<bool> ids_used_;
  std::unordered_map<int, std::shared_ptr<Connection>> connections_;  // by descriptor
};

}  // namespace weir::agent
