// What an agent keeps of its leases for the one that follows it and takes over its counters.
// Written before anything that it says less of than before is told to the server: a successor that
// believed in more than is held would spend what others have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lease/desk.h"

namespace weir::agent {

struct SavedLeases {
  std::string boot_id;             // times are of that boot's clock
  std::uint64_t counters_id = 0;   // leases are of use with the counters they were spent from
  std::int64_t heard_boot_ns = 0;  // when a server was heard last
  std::int64_t ttl_ns = 0;
  lease::DeskState desk;
};

std::string to_text(const SavedLeases& saved);
// Nothing when the text is not whole.
std::optional<SavedLeases> parse_saved_leases(std::string_view text);

}  // namespace weir::agent
