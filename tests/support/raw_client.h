// A client without libweir: it has the segments' descriptors in its hands and may do with them, and
// with the connection, whatever a hostile process may.
#pragma once

#include <string>

#include "shm/fd.h"
#include "shm/frame.h"
#include "shm/segment.h"
#include "shm/view.h"

namespace weir::test {

class RawClient {
 public:
  // Connects; no frame is sent yet.
  explicit RawClient(const std::string& sock);
  bool connected() const { return static_cast<bool>(socket_); }

  // Says hello and takes the answer. False when it was refused; refusal() says why.
  bool attach(const shm::Frame* hello = nullptr);
  shm::Refusal refusal() const { return refusal_; }

  bool send(const void* bytes, std::size_t size);
  // The same with `count` copies of a descriptor.
  bool send_with_fds(const void* bytes, std::size_t size, int fd, int count);
  // True when the agent has hung up.
  bool closed_by_peer(int timeout_ms) const;

  // Puts one of this client's cells into the queue of the limit in slot `index`.
  void enqueue(std::uint32_t cell, std::uint32_t index, std::uint64_t tokens);
  bool granted(std::uint32_t cell) const;

  const shm::Frame& welcome() const { return welcome_; }
  int rules_fd() const { return rules_fd_.get(); }
  int counters_fd() const { return counters_fd_.get(); }
  const shm::RulesView& rules() const { return rules_; }
  const shm::CountersView& counters() const { return counters_; }

 private:
  shm::Fd socket_, rules_fd_, counters_fd_;
  shm::Frame welcome_;
  shm::Refusal refusal_ = shm::Refusal::none;
  shm::Mapping rules_map_, counters_map_;
  shm::RulesView rules_;
  shm::CountersView counters_;
};

}  // namespace weir::test
