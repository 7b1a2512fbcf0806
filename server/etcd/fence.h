// What a transaction of an owner compares, so that it changes nothing once somebody else owns the
// namespace: the owner's key is there, and was created then.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace weir::server::etcd {

struct Fence {
  std::string owner_key;
  std::int64_t create_revision = 0;

  bool operator==(const Fence&) const = default;
};

// Of a namespace; none while it is not ours.
using FenceOf = std::function<std::optional<Fence>(const std::string& name_space)>;

}  // namespace weir::server::etcd
