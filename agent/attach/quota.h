// How fast and how often one user may attach, so that a crash loop or a hostile user costs the
// agent a bounded amount of work and never keeps others out. Pure: time is passed in.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <unordered_map>

namespace weir::agent {

inline constexpr std::uint32_t kConnectionsPerUserMax = 256;
inline constexpr double kAttachesPerSecond = 200;
inline constexpr double kAttachBurst = 400;
inline constexpr std::size_t kUsersMax = 4096;

class AttachQuota {
 public:
  enum class Verdict { ok, too_many, too_fast };

  Verdict take(uid_t uid, std::int64_t now_ns) {
    if (users_.size() >= kUsersMax && !users_.contains(uid)) forget_idle(now_ns);
    if (users_.size() >= kUsersMax && !users_.contains(uid)) return Verdict::too_fast;
    User& user = users_.try_emplace(uid, User{0, kAttachBurst, now_ns}).first->second;
    user.tokens = std::min(kAttachBurst, user.tokens + static_cast<double>(now_ns - user.at_ns) /
                                                           1e9 * kAttachesPerSecond);
    user.at_ns = now_ns;
    if (user.tokens < 1) return Verdict::too_fast;
    user.tokens -= 1;
    if (user.connections >= kConnectionsPerUserMax) return Verdict::too_many;
    ++user.connections;
    return Verdict::ok;
  }
  void give_back(uid_t uid) {
    if (const auto found = users_.find(uid); found != users_.end() && found->second.connections > 0)
      --found->second.connections;
  }

 private:
  struct User {
    std::uint32_t connections = 0;
    double tokens = 0;
    std::int64_t at_ns = 0;
  };
  void forget_idle(std::int64_t now_ns) {
    std::erase_if(users_, [&](const auto& entry) {
      const User& user = entry.second;
      return user.connections == 0 && now_ns - user.at_ns > 10'000'000'000;
    });
  }
  std::unordered_map<uid_t, User> users_;
};

}  // namespace weir::agent
