#include "agent/attach/peer.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "rules/file.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace weir::agent {

namespace {

constexpr std::size_t kGroupsMax = 65536;  // NGROUPS_MAX

template <class Id>
std::optional<Id> number_of(const std::string& text) noexcept {
  Id id{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return id;
}

std::optional<uid_t> uid_of(const std::string& name) noexcept {
  if (const auto number = number_of<uid_t>(name)) return number;
  struct passwd entry {};
  struct passwd* found = nullptr;
  std::vector<char> text(16384);
  if (::getpwnam_r(name.c_str(), &entry, text.data(), text.size(), &found) != 0 || found == nullptr)
    return std::nullopt;
  return found->pw_uid;
}

std::optional<gid_t> gid_of(const std::string& name) noexcept {
  if (const auto number = number_of<gid_t>(name)) return number;
  struct group entry {};
  struct group* found = nullptr;
  std::vector<char> text(65536);
  if (::getgrnam_r(name.c_str(), &entry, text.data(), text.size(), &found) != 0 || found == nullptr)
    return std::nullopt;
  return found->gr_gid;
}

}  // namespace

bool read_peer(int fd, Peer& peer) noexcept {
  struct ucred credentials {};
  socklen_t bytes = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) return false;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;

  bytes = 0;
  (void)::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, nullptr, &bytes);
  if (bytes > 0 && bytes <= kGroupsMax * sizeof(gid_t)) {
    peer.groups.resize(bytes / sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &bytes) != 0)
      peer.groups.clear();
  }

  int pidfd = -1;
  bytes = sizeof(pidfd);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) != 0 && peer.pid > 0)
    pidfd = static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0));
  peer.pidfd.reset(pidfd);
  return true;
}

Access resolve_access(const DomainRule& rule) noexcept {
  Access access;
  for (const std::string& name : rule.users)
    if (const auto uid = uid_of(name))
      access.users.push_back(*uid);
    else
      access.unknown.push_back("user " + name);
  for (const std::string& name : rule.groups)
    if (const auto gid = gid_of(name))
      access.groups.push_back(*gid);
    else
      access.unknown.push_back("group " + name);
  return access;
}

bool may_attach(const Access& access, const Peer& peer) noexcept {
  if (peer.uid == 0 || peer.uid == ::geteuid()) return true;
  const auto holds = [](const auto& list, auto id) {
    return std::find(list.begin(), list.end(), id) != list.end();
  };
  if (holds(access.users, peer.uid) || holds(access.groups, peer.gid)) return true;
  return std::any_of(peer.groups.begin(), peer.groups.end(),
                     [&](gid_t gid) { return holds(access.groups, gid); });
}

std::string command_of(pid_t pid) noexcept {
  if (pid <= 0) return {};
  std::string text = read_file("/proc/" + std::to_string(pid) + "/comm", 256).text;
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

}  // namespace weir::agent
