// Exact max-min by sorting, as the definition says: the judge of the core's own way to it.
#pragma once

#include <cstdint>
#include <vector>

namespace weir::sim {

struct Asker {
  double want = 0;
  double weight = 1;
  std::uint32_t band = 0;  // the larger number is served first
  double floor = 0;
};

std::vector<double> max_min(const std::vector<Asker>& askers, double capacity);

// (sum x)^2 / (n sum x^2) of got / fair, over those whose fair part is at least `least`. 1 is
// perfect; 1 as well when there is nobody.
double jain(const std::vector<double>& got, const std::vector<double>& fair, double least);

}  // namespace weir::sim
