#include "lease/limit_state.h"
#include "lease/messages.h"
#include "lease/pattern.h"

namespace weir::lease {

// FNV-1a over the bytes, then mixed, so that similar names lie far apart. Not a secret: rules
// with two names of one id are refused where they are read.
LimitId limit_id(const std::string& name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93ULL;
  hash ^= hash >> 32;
  return hash == 0 ? 1 : hash;
}

bool matches(const std::string& pattern, const std::string& name) noexcept {
  return matches_pattern(
      pattern, name, [](char a, char b) { return a == b; }, [](char) { return true; });
}

}  // namespace weir::lease
