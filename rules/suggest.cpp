// The nearest allowed word to a mistyped one.
#include <algorithm>
#include <array>

#include "rules/text.h"

namespace weir {
namespace {

constexpr std::size_t kWordBytesMax = 32;  // longer words are not typing mistakes of ours

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
std::size_t distance(std::string_view a, std::string_view b) noexcept {
  using Row = std::array<std::size_t, kWordBytesMax + 1>;
  Row before{};
  Row previous{};
  Row current{};
  for (std::size_t j = 0; j <= b.size(); ++j)
    previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    before = previous;
    previous = current;
  }
  return previous[b.size()];
}

// Case and - for _ are the commonest slips, so they cost nothing.
std::string folded(std::string_view word) {
  std::string text{word};
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-' || c == ' ') c = '_';
  }
  return text;
}

}  // namespace

std::string_view did_you_mean(std::string_view word, std::span<const std::string_view> words) {
  if (word.size() < 2 || word.size() > kWordBytesMax) return {};
  const std::string typed = folded(word);
  std::string_view nearest;
  std::size_t least = 3;
  for (const std::string_view candidate : words) {
    if (candidate.size() > kWordBytesMax) continue;
    const std::size_t apart = distance(typed, folded(candidate));
    // At least half of a short word has to be right.
    if (apart < least && apart * 2 <= candidate.size()) {
      least = apart;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace weir
