// The bytes of what a server remembers over its restart. Pure.
//
// identities: a header, then records that are only added: this agent of this host was met; it need
// not be remembered any more; from here on nobody of this namespace is missing, or somebody may be.
// "Nobody" is written when a namespace has learned for its full time: whoever was met before that
// may have had neighbours that nobody has heard of yet. A damaged file is no reason to stop: what
// it lacks costs one full time of learning.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lease/book.h"

namespace weir::server {

using lease::Identity;

struct KnownHosts {
  std::set<Identity> identities;
  bool whole = false;  // nobody is missing

  bool operator==(const KnownHosts&) const = default;
};
using Known = std::map<std::string, KnownHosts>;  // by namespace

inline constexpr std::string_view kIdentitiesHeader = "weir identities 1\n";
inline constexpr std::size_t kIdentitiesBytesMax = 256U << 20;

void append_met(std::string& out, std::string_view name_space, const Identity& identity);
void append_forgotten(std::string& out, std::string_view name_space, const Identity& identity);
void append_whole(std::string& out, std::string_view name_space, bool whole);
std::string identities_file(const Known& known);

struct IdentitiesRead {
  Known known;
  std::size_t records = 0;
  std::size_t good_bytes = 0;  // up to the first damage
  std::string damage;          // not empty: then no namespace counts as whole
};
IdentitiesRead read_identities(std::string_view bytes);

// epoch: one number with its check. 0 when the text is damaged.
std::string epoch_file(std::uint64_t epoch);
std::uint64_t read_epoch(std::string_view text) noexcept;

std::uint32_t crc32c(std::string_view bytes) noexcept;

}  // namespace weir::server
