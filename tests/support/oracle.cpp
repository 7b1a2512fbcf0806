#include "tests/support/oracle.h"

#include <algorithm>
#include <bit>

namespace weir::test {

namespace {

__extension__ using Wide = __int128;  // tokens times nanoseconds: never near its end

constexpr Wide kNever = -(Wide{1} << 100);

// For one start of a window: over all its ends, the largest (tokens inside - rate x length). A leaf
// is an end; its step is what lies between it and the end before. Only ends of calls that began
// inside the window are candidates.
class Ends {
 public:
  explicit Ends(std::size_t count) : leaves_(std::bit_ceil(count)), nodes_(2 * leaves_) {}

  void set_gap(std::size_t leaf, Wide cost) { nodes_[leaves_ + leaf].sum = -cost; }
  void build() {
    for (std::size_t i = leaves_ - 1; i > 0; --i)
      pull(i);
  }
  void add(std::size_t leaf, Wide value) {
    std::size_t i = leaves_ + leaf;
    nodes_[i].sum += value;
    nodes_[i].best = nodes_[i].sum;
    nodes_[i].best_leaf = leaf;
    for (i /= 2; i > 0; i /= 2)
      pull(i);
  }
  Wide best() const { return nodes_[1].best; }
  std::size_t best_leaf() const { return nodes_[1].best_leaf; }

 private:
  struct Node {
    Wide sum = 0;
    Wide best = kNever;
    std::size_t best_leaf = 0;
  };
  void pull(std::size_t i) {
    const Node& left = nodes_[2 * i];
    const Node& right = nodes_[2 * i + 1];
    const Wide through = right.best == kNever ? kNever : left.sum + right.best;
    nodes_[i].sum = left.sum + right.sum;
    nodes_[i].best = std::max(left.best, through);
    nodes_[i].best_leaf = left.best >= through ? left.best_leaf : right.best_leaf;
  }

  std::size_t leaves_;
  std::vector<Node> nodes_;
};

}  // namespace

OracleVerdict check_bound(std::vector<Admission> calls, const OracleRule& rule) {
  OracleVerdict verdict;
  verdict.over_tokens = -static_cast<double>(rule.burst);
  if (calls.empty()) return verdict;
  std::vector<std::int64_t> ends;
  for (const Admission& call : calls) {
    ends.push_back(call.end_ns);
    verdict.admitted += call.tokens;
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  Ends tree(ends.size());
  for (std::size_t i = 1; i < ends.size(); ++i)
    tree.set_gap(i, Wide{rule.amount} * (ends[i] - ends[i - 1]));
  tree.build();

  // From the last start to the first: what began later is already in.
  std::sort(calls.begin(), calls.end(),
            [](const Admission& a, const Admission& b) { return a.begin_ns > b.begin_ns; });
  const Wide bound = Wide{rule.burst} * rule.period_ns;
  Wide worst = kNever;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const auto at = std::lower_bound(ends.begin(), ends.end(), calls[i].end_ns) - ends.begin();
    tree.add(static_cast<std::size_t>(at), Wide{calls[i].tokens} * rule.period_ns);
    if (i + 1 < calls.size() && calls[i + 1].begin_ns == calls[i].begin_ns) continue;
    // The tree counts time from the first end of all; this window began at the call's begin.
    const Wide over = tree.best() + Wide{rule.amount} * (calls[i].begin_ns - ends.front()) - bound;
    if (over <= worst) continue;
    worst = over;
    verdict.from_ns = calls[i].begin_ns;
    verdict.to_ns = ends[tree.best_leaf()];
  }
  verdict.holds = worst <= 0;
  verdict.over_tokens = static_cast<double>(worst) / static_cast<double>(rule.period_ns);
  return verdict;
}

}  // namespace weir::test
