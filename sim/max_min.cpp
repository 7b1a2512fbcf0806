#include "sim/max_min.h"

#include <algorithm>
#include <map>

namespace weir::sim {
namespace {

// share = clamp(level * weight, floor, want) for everybody in `group`, with one level. Each has
// its floor already; `capacity` includes those floors.
void fill_band(const std::vector<Asker>& askers, const std::vector<std::size_t>& group,
               double capacity, std::vector<double>& shares) {
  double wanted = 0;
  for (const std::size_t i : group)
    wanted += askers[i].want;
  if (wanted <= capacity) {
    for (const std::size_t i : group)
      shares[i] = askers[i].want;
    return;
  }
  // Over the level the sum of the shares bends at floor / weight and at want / weight.
  std::vector<std::pair<double, double>> bends;  // level, change of the slope
  double sum = 0;
  for (const std::size_t i : group) {
    const double floor = std::min(askers[i].floor, askers[i].want);
    sum += floor;
    bends.emplace_back(floor / askers[i].weight, askers[i].weight);
    bends.emplace_back(askers[i].want / askers[i].weight, -askers[i].weight);
  }
  std::sort(bends.begin(), bends.end());
  double level = 0;
  double slope = 0;
  for (const auto& [at, change] : bends) {
    const double step = slope * (at - level);
    if (sum + step >= capacity && slope > 0) break;
    sum += step;
    level = at;
    slope += change;
  }
  if (slope > 0) level += (capacity - sum) / slope;
  for (const std::size_t i : group) {
    const double floor = std::min(askers[i].floor, askers[i].want);
    shares[i] = std::clamp(level * askers[i].weight, floor, askers[i].want);
  }
}

}  // namespace

std::vector<double> max_min(const std::vector<Asker>& askers, double capacity) {
  std::vector<double> shares(askers.size(), 0);
  std::map<std::uint32_t, std::vector<std::size_t>, std::greater<>> bands;
  double floors = 0;
  for (std::size_t i = 0; i < askers.size(); ++i) {
    shares[i] = std::min(askers[i].floor, askers[i].want);
    floors += shares[i];
    bands[askers[i].band].push_back(i);
  }
  double left = std::max(0.0, capacity - floors);
  for (const auto& [band, group] : bands) {
    double own = 0;
    for (const std::size_t i : group)
      own += shares[i];
    fill_band(askers, group, own + left, shares);
    double taken = 0;
    for (const std::size_t i : group)
      taken += shares[i];
    left = std::max(0.0, left - (taken - own));
  }
  return shares;
}

double jain(const std::vector<double>& got, const std::vector<double>& fair, double least) {
  double sum = 0;
  double squares = 0;
  double count = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (fair[i] < least || fair[i] <= 0) continue;
    const double x = got[i] / fair[i];
    sum += x;
    squares += x * x;
    count += 1;
  }
  return count == 0 || squares == 0 ? 1.0 : sum * sum / (count * squares);
}

}  // namespace weir::sim
