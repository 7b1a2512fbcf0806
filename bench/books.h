// The agent's own books of a limit, read straight from its segments. A measurement that believed
// only the answers of the library could not tell whether they were right.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shm/segment.h"
#include "shm/view.h"

namespace weir::bench {

struct Balance {
  std::uint64_t minted_total = 0;
  std::uint64_t cut_total = 0;      // taken out again: a burst that was lowered
  std::uint64_t level = 0;          // in the bucket and on its stripes
  std::uint64_t stripes_taken = 0;  // admitted from stripes so far
  bool operator==(const Balance&) const = default;
};

// What callers must have been admitted between two balances: not one more, not one less.
constexpr std::uint64_t admitted_between(const Balance& before, const Balance& after) noexcept {
  return after.minted_total - before.minted_total + before.level - after.level -
         (after.cut_total - before.cut_total);
}

class Books {
 public:
  // Attaches as any client does. Empty where that fails.
  static std::optional<Books> open(const std::string& socket_path);

  // The balance as it is, tokens under way and all.
  Balance now(const char* limit) const;
  // The balance once nothing moves: while tokens are between the mint and its entry, the words
  // disagree. Empty when the bucket does not come to rest within two seconds.
  std::optional<Balance> at_rest(const char* limit) const;
  // Whether the agent has gone over to its slow tick.
  bool agent_sleeps() const;

 private:
  Balance read(std::uint32_t index) const;

  shm::Fd connection_;  // the agent forgets a client whose connection ends
  shm::Mapping rules_map_;
  shm::Mapping counters_map_;
  shm::RulesView rules_;
  shm::CountersView counters_;
};

}  // namespace weir::bench
