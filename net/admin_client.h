// A blocking client of the agent's admin socket: one request, one answer, each with a deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "net/frame.h"
#include "net/result.h"
#include "weir/v1/admin.pb.h"

namespace weir::net {

class AdminClient {
 public:
  // `timeout` is for the connection and, anew, for each call as a whole: a peer that sends a byte
  // now and then does not hold the caller longer.
  static Result<AdminClient> connect(const std::string& path, std::chrono::milliseconds timeout);

  AdminClient(AdminClient&& other) noexcept;
  AdminClient& operator=(AdminClient&& other) noexcept;
  ~AdminClient();

  // An answer that carries an error text comes back as Failure::refused with that text. After
  // timeout and broken the connection is closed: connect again.
  Result<v1::AdminResponse> call(const v1::AdminRequest& request);

  const std::string& path() const noexcept { return path_; }

 private:
  using Deadline = std::chrono::steady_clock::time_point;

  AdminClient(int fd, std::string path, std::chrono::milliseconds timeout);
  bool wait_for(short events, Deadline deadline) const noexcept;
  Result<bool> send_all(const std::string& frame, Deadline deadline);
  Result<v1::AdminResponse> receive(Deadline deadline);
  Error fail(Failure kind, const std::string& what);
  void close() noexcept;

  int fd_ = -1;
  std::string path_;
  std::chrono::milliseconds timeout_{0};
  FrameReader reader_;
};

}  // namespace weir::net
