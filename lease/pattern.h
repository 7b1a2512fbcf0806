// Names against a pattern in which '*' stands for any run of characters.
#pragma once

#include <cstddef>
#include <string_view>

namespace weir::lease {

// Takes |pattern| x |name| steps at most, whatever the stars. `same(a, b)` compares a character of
// the pattern with one of the name; `covers(c)` says whether a star may stand for `c`.
template <class Same, class Covers>
constexpr bool matches_pattern(std::string_view pattern, std::string_view name, Same same,
                               Covers covers) noexcept {
  std::size_t p = 0, n = 0, star = pattern.npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && same(pattern[p], name[n])) {
      ++p;
      ++n;
    } else if (star != pattern.npos && covers(name[resume])) {
      p = star + 1;  // the star takes one character more
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*')
    ++p;
  return p == pattern.size();
}

}  // namespace weir::lease
