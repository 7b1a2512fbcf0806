// Against DNS rebinding: whether a Host header names us, or a name that a stranger could have
// pointed at our address.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace weir {

class HostGuard {
 public:
  // Without `loopback` every host is admitted.
  HostGuard(bool loopback, std::vector<std::string> names) noexcept
      : loopback_(loopback), names_(std::move(names)) {}

  // "localhost", a literal address or one of the names, each with or without a port.
  bool admits(std::string_view host) const noexcept;

 private:
  bool loopback_;
  std::vector<std::string> names_;
};

std::string own_host_name();
bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

}  // namespace weir
