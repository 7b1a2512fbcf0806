// What an agent keeps of its permits for the one that follows it and takes over its counters.
// Written before a cap is put in force and before anything is said of it to the server: never less
// than what is in force, and never more than what the server reckons with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lease/permit_desk.h"

namespace weir::agent {

struct SavedPermits {
  std::string boot_id;            // times are of that boot's clock
  std::uint64_t counters_id = 0;  // permits are held in these counters
  lease::PermitDeskState desk;
};

std::string to_text(const SavedPermits& saved);
// Nothing when the text is not whole.
std::optional<SavedPermits> parse_saved_permits(const std::string& text);

}  // namespace weir::agent
