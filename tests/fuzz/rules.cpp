// A rules file from anywhere: refused with a message or taken, never a crash.
#include "rules/parse.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto result = weir::parse_rules(text, "fuzz.yaml");
  if (!result.ok() && result.problems.empty()) std::abort();
  for (const auto& problem : result.problems)
    (void)to_string(problem);
  return 0;
}
