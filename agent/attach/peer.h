// Who is at the other end of a connection, by the kernel's word alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rules/parse.h"
#include "shm/fd.h"

namespace weir::agent {

struct Peer {
  pid_t pid = 0;  // 0 where the peer lives in a sibling pid namespace
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  shm::Fd pidfd;  // readable once the process has ended; absent on old kernels
};

// False when the kernel would not say.
bool read_peer(int fd, Peer& peer) noexcept;

// A domain's list of users and groups as numbers.
struct Access {
  std::vector<uid_t> users;
  std::vector<gid_t> groups;
  std::vector<std::string> unknown;  // names that this host does not know
};
Access resolve_access(const DomainRule& rule) noexcept;

// Root and the agent's own user always may; a message's claims never count.
bool may_attach(const Access& access, const Peer& peer) noexcept;

std::string command_of(pid_t pid) noexcept;  // for people; empty when it cannot be read

}  // namespace weir::agent
