// The idea: let a level rise from 0 in the highest band, then from 0 in the next, and so on. What
// is given out so far, the fill, then only grows, and between two events it grows along a line. An
// event is a holder that joins (the level reaches its floor) or leaves (it reaches its want).
//
//   fill(level) = amount + slope * level, where a holder that joins adds (-floor, +weight)
//                                         and one that leaves adds    (+want,  -weight)
//
// A holder that has left adds want - floor for good, so that one sum over all events before a place
// says the fill there, bands above included. The events lie in a B+ tree in that order, each
// subtree with its sum: one descent finds where the fill reaches the capacity, and the line found
// there gives the level as an exact fraction. Floors that do not fit are a second line over the
// same events: there all start from 0, and leave at their floors.
#include "lease/fair_share.h"

#include <algorithm>
#include <array>
#include <compare>
#include <cstdlib>
#include <limits>
#include <utility>

namespace weir::lease {

namespace {

// Wrong here means that our own caller or our own tree is wrong: going on would divide a limit by
// books that do not add up.
void must(bool right) noexcept {
  if (!right) std::abort();
}

}  // namespace

// Holders with the same event are one event, so that crowds of equal holders cost nothing.
struct FairShare::Event {
  // At one level those who join come first, so that no slope is ever negative.
  enum class Kind : std::uint8_t {
    starts,        // has a floor, and gets the first part of it: the line of the floors alone
    joins,         // has no floor
    passes_floor,  // has all of its floor: leaves the line of the floors, joins that of the rest
    leaves,        // has all that it wants
  };

  std::int64_t amount = 0;  // the event is at the level amount / weight
  std::uint32_t weight = 1;
  std::uint32_t band = 0;
  std::uint32_t holders = 1;
  Kind kind = Kind::joins;
};

// What one holder adds to the tree.
struct FairShare::Events {
  std::array<Event, 3> list;
  std::size_t count = 0;
};

class FairShare::Tree {
 public:
  Tree() noexcept = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  // Changes the events of one holder from `before` to `after`.
  void replace(const Events& before, const Events& after) noexcept;
  // Where the fill, of the floors or of the rest, reaches `target`; it must do so somewhere.
  Level level_at(Wide target, bool floors) const noexcept;

 private:
  struct Line {
    Wide amount = 0;
    std::int64_t slope = 0;

    Line& operator+=(const Line& other) noexcept {
      amount += other.amount;
      slope += other.slope;
      return *this;
    }
  };

  // The sum over some events, for both lines.
  struct Sums {
    Line rest;
    Line floors;

    void add(const Event& event, std::int64_t holders) noexcept;
    const Line& line(bool of_floors) const noexcept { return of_floors ? floors : rest; }
  };

  struct Node;
  struct Leaf;
  struct Inner;
  struct NodeDelete {
    void operator()(Node* node) const noexcept;
  };
  using NodePtr = std::unique_ptr<Node, NodeDelete>;

  struct Child {
    Event first;  // of all events below; how many holders it has is not kept here
    NodePtr node;
    Sums sums;
  };

  static std::strong_ordering order(const Event& a, const Event& b) noexcept;
  static bool same(const Event& a, const Event& b) noexcept;
  static bool contains(const Events& events, const Event& event) noexcept;
  static bool beyond(const Event& event, const Line& line, Wide target) noexcept;
  static std::uint32_t place_in(const Leaf& leaf, const Event& event) noexcept;
  static std::uint32_t place_in(const Inner& inner, const Event& event) noexcept;
  static Child child_of(NodePtr node) noexcept;
  static void sum_up(Child& child) noexcept;
  template <class N, class Item>
  static NodePtr put(N& node, std::uint32_t index, Item item) noexcept;
  template <class N>
  static void cut(N& node, std::uint32_t index) noexcept;
  template <class N>
  static void even_out(N& left, N& right) noexcept;
  static NodePtr insert_below(Node& node, const Event& event) noexcept;
  static void remove_below(Node& node, const Event& event) noexcept;
  static void mend(Inner& inner, std::uint32_t index) noexcept;
  void insert(const Event& event) noexcept;
  void remove(const Event& event) noexcept;

  NodePtr root_;  // null when nobody wants anything
};

// All nodes but the root are at least half full. A full one of either kind is 800 to 1600 bytes:
// larger ones save depth, but every search ends with a walk through them.
struct FairShare::Tree::Node {
  bool is_leaf = true;
  std::uint32_t count = 0;
};

struct FairShare::Tree::Leaf : Node {
  static constexpr std::uint32_t kMax = 32;
  std::array<Event, kMax> items;
};

struct FairShare::Tree::Inner : Node {
  static constexpr std::uint32_t kMax = 16;
  Inner() noexcept { is_leaf = false; }
  std::array<Child, kMax> items;
};

void FairShare::Tree::NodeDelete::operator()(Node* node) const noexcept {
  if (node->is_leaf)
    delete static_cast<Leaf*>(node);
  else
    delete static_cast<Inner*>(node);
}

void FairShare::Tree::Sums::add(const Event& event, std::int64_t holders) noexcept {
  const std::int64_t weight = holders * event.weight;
  const Wide amount = Wide{holders} * event.amount;
  switch (event.kind) {
    case Event::Kind::starts:
      floors += {0, weight};
      break;
    case Event::Kind::joins:
      rest += {0, weight};
      break;
    case Event::Kind::passes_floor:
      floors += {amount, -weight};
      rest += {-amount, weight};
      break;
    case Event::Kind::leaves:
      rest += {amount, -weight};
      break;
  }
}

std::strong_ordering FairShare::Tree::order(const Event& a, const Event& b) noexcept {
  if (a.band != b.band) return b.band <=> a.band;
  const Wide level_a = Wide{a.amount} * b.weight;
  const Wide level_b = Wide{b.amount} * a.weight;
  if (level_a != level_b)
    return level_a < level_b ? std::strong_ordering::less : std::strong_ordering::greater;
  if (a.kind != b.kind) return a.kind <=> b.kind;
  return a.weight <=> b.weight;
}

bool FairShare::Tree::same(const Event& a, const Event& b) noexcept {
  return a.amount == b.amount && a.weight == b.weight && a.band == b.band && a.kind == b.kind;
}

bool FairShare::Tree::contains(const Events& events, const Event& event) noexcept {
  return std::any_of(events.list.begin(), events.list.begin() + events.count,
                     [&](const Event& other) { return same(event, other); });
}

// Whether the fill is above the target when the level reaches the event. `line` is the sum of all
// events before it.
bool FairShare::Tree::beyond(const Event& event, const Line& line, Wide target) noexcept {
  return Wide{line.slope} * event.amount > (target - line.amount) * event.weight;
}

// The event, or the first one after it.
std::uint32_t FairShare::Tree::place_in(const Leaf& leaf, const Event& event) noexcept {
  const auto end = leaf.items.begin() + leaf.count;
  const auto place =
      std::lower_bound(leaf.items.begin(), end, event,
                       [](const Event& a, const Event& b) { return std::is_lt(order(a, b)); });
  return static_cast<std::uint32_t>(place - leaf.items.begin());
}

// The child where the event lies, or would lie.
std::uint32_t FairShare::Tree::place_in(const Inner& inner, const Event& event) noexcept {
  const auto begin = inner.items.begin() + 1;
  const auto end = inner.items.begin() + inner.count;
  const auto next = std::upper_bound(begin, end, event, [](const Event& a, const Child& b) {
    return std::is_lt(order(a, b.first));
  });
  return static_cast<std::uint32_t>(next - begin);
}

FairShare::Tree::Child FairShare::Tree::child_of(NodePtr node) noexcept {
  Child child;
  child.node = std::move(node);
  sum_up(child);
  return child;
}

void FairShare::Tree::sum_up(Child& child) noexcept {
  child.sums = {};
  if (child.node->is_leaf) {
    const Leaf& leaf = static_cast<const Leaf&>(*child.node);
    child.first = leaf.items[0];
    for (std::uint32_t i = 0; i < leaf.count; ++i)
      child.sums.add(leaf.items[i], leaf.items[i].holders);
  } else {
    const Inner& inner = static_cast<const Inner&>(*child.node);
    child.first = inner.items[0].first;
    for (std::uint32_t i = 0; i < inner.count; ++i) {
      child.sums.rest += inner.items[i].sums.rest;
      child.sums.floors += inner.items[i].sums.floors;
    }
  }
}

// Puts an item into a node. One that was full hands its upper half back, as a node of its own.
template <class N, class Item>
FairShare::Tree::NodePtr FairShare::Tree::put(N& node, std::uint32_t index, Item item) noexcept {
  N* target = &node;
  NodePtr upper;
  if (node.count == N::kMax) {
    constexpr std::uint32_t kHalf = N::kMax / 2;
    N* right = new N;
    upper.reset(right);
    std::move(node.items.begin() + kHalf, node.items.end(), right->items.begin());
    node.count = kHalf;
    right->count = N::kMax - kHalf;
    if (index > kHalf) {
      target = right;
      index -= kHalf;
    }
  }
  const auto begin = target->items.begin();
  std::move_backward(begin + index, begin + target->count, begin + target->count + 1);
  target->items[index] = std::move(item);
  ++target->count;
  return upper;
}

template <class N>
void FairShare::Tree::cut(N& node, std::uint32_t index) noexcept {
  const auto begin = node.items.begin();
  std::move(begin + index + 1, begin + node.count, begin + index);
  --node.count;
  node.items[node.count] = {};  // a child that moved on leaves nothing behind to be freed twice
}

// All into the left node where they fit, else half into each.
template <class N>
void FairShare::Tree::even_out(N& left, N& right) noexcept {
  const std::uint32_t total = left.count + right.count;
  const std::uint32_t goal = total <= N::kMax ? total : total / 2;
  const auto from = right.items.begin();
  const auto to = left.items.begin();
  if (left.count < goal) {
    const std::uint32_t moved = goal - left.count;
    std::move(from, from + moved, to + left.count);
    std::move(from + moved, from + right.count, from);
  } else {
    const std::uint32_t moved = left.count - goal;
    std::move_backward(from, from + right.count, from + right.count + moved);
    std::move(to + goal, to + left.count, from);
  }
  left.count = goal;
  right.count = total - goal;
}

FairShare::Tree::NodePtr FairShare::Tree::insert_below(Node& node, const Event& event) noexcept {
  if (node.is_leaf) {
    Leaf& leaf = static_cast<Leaf&>(node);
    const std::uint32_t index = place_in(leaf, event);
    if (index == leaf.count || !same(leaf.items[index], event)) return put(leaf, index, event);
    ++leaf.items[index].holders;
    return {};
  }
  Inner& inner = static_cast<Inner&>(node);
  const std::uint32_t index = place_in(inner, event);
  Child& child = inner.items[index];
  NodePtr upper = insert_below(*child.node, event);
  if (upper) {
    sum_up(child);
    return put(inner, index + 1, child_of(std::move(upper)));
  }
  // `first` stays right: what comes before it ends up in the leftmost leaf, and of the nodes above
  // that one nobody reads `first`.
  child.sums.add(event, 1);
  return {};
}

void FairShare::Tree::remove_below(Node& node, const Event& event) noexcept {
  if (node.is_leaf) {
    Leaf& leaf = static_cast<Leaf&>(node);
    const std::uint32_t index = place_in(leaf, event);
    must(index < leaf.count && same(leaf.items[index], event));
    if (--leaf.items[index].holders == 0) cut(leaf, index);
    return;
  }
  Inner& inner = static_cast<Inner&>(node);
  const std::uint32_t index = place_in(inner, event);
  Child& child = inner.items[index];
  remove_below(*child.node, event);
  child.sums.add(event, -1);
  if (child.node->is_leaf) {
    if (child.node->count < Leaf::kMax / 2) return mend(inner, index);
    child.first = static_cast<const Leaf&>(*child.node).items[0];
  } else {
    if (child.node->count < Inner::kMax / 2) return mend(inner, index);
    child.first = static_cast<const Inner&>(*child.node).items[0].first;
  }
}

// The child at `index` is less than half full: it joins a neighbour, or takes from it.
void FairShare::Tree::mend(Inner& inner, std::uint32_t index) noexcept {
  const std::uint32_t at = index == 0 ? 0 : index - 1;
  Child& left = inner.items[at];
  Child& right = inner.items[at + 1];
  if (left.node->is_leaf)
    even_out(static_cast<Leaf&>(*left.node), static_cast<Leaf&>(*right.node));
  else
    even_out(static_cast<Inner&>(*left.node), static_cast<Inner&>(*right.node));
  sum_up(left);
  if (right.node->count == 0)
    cut(inner, at + 1);
  else
    sum_up(right);
}

void FairShare::Tree::insert(const Event& event) noexcept {
  if (!root_) root_.reset(new Leaf);
  NodePtr upper = insert_below(*root_, event);
  if (!upper) return;
  auto* top = new Inner;
  top->items[0] = child_of(std::move(root_));
  top->items[1] = child_of(std::move(upper));
  top->count = 2;
  root_.reset(top);
}

void FairShare::Tree::remove(const Event& event) noexcept {
  must(root_ != nullptr);
  remove_below(*root_, event);
  if (root_->count == 0) {
    root_.reset();
  } else if (!root_->is_leaf && root_->count == 1) {
    NodePtr only = std::move(static_cast<Inner&>(*root_).items[0].node);
    root_ = std::move(only);
  }
}

void FairShare::Tree::replace(const Events& before, const Events& after) noexcept {
  for (std::size_t i = 0; i < before.count; ++i)
    if (!contains(after, before.list[i])) remove(before.list[i]);
  for (std::size_t i = 0; i < after.count; ++i)
    if (!contains(before, after.list[i])) insert(after.list[i]);
}

FairShare::Level FairShare::Tree::level_at(Wide target, bool floors) const noexcept {
  must(root_ != nullptr);
  Line line;
  const Node* node = root_.get();
  while (!node->is_leaf) {
    const Inner& inner = static_cast<const Inner&>(*node);
    std::uint32_t index = 0;
    for (; index + 1 < inner.count; ++index) {
      Line next = line;
      next += inner.items[index].sums.line(floors);
      if (beyond(inner.items[index + 1].first, next, target)) break;
      line = next;
    }
    node = inner.items[index].node.get();
  }
  Level level{.plenty = false, .floors = floors};
  const Leaf& leaf = static_cast<const Leaf&>(*node);
  for (std::uint32_t i = 0; i < leaf.count && !beyond(leaf.items[i], line, target); ++i) {
    Sums sums;
    sums.add(leaf.items[i], leaf.items[i].holders);
    line += sums.line(floors);
    level.band = leaf.items[i].band;
  }
  // The fill is at most the target here and above it at the next event, so that it grows.
  must(line.slope > 0);
  level.slope = line.slope;
  level.whole = static_cast<std::int64_t>((target - line.amount) / line.slope);
  level.part = static_cast<std::int64_t>((target - line.amount) % line.slope);
  return level;
}

FairShare::FairShare() noexcept : tree_(std::make_unique<Tree>()) {}
FairShare::~FairShare() = default;
FairShare::FairShare(FairShare&&) noexcept = default;
FairShare& FairShare::operator=(FairShare&&) noexcept = default;

FairShare::Events FairShare::events_of(const Holder& holder) noexcept {
  Events events;
  if (holder.want == 0) return events;
  const auto push = [&](std::int64_t amount, Event::Kind kind) {
    events.list[events.count++] = {amount, holder.weight, holder.band, 1, kind};
  };
  if (const std::int64_t floor = std::min(holder.floor, holder.want); floor > 0) {
    push(0, Event::Kind::starts);
    push(floor, Event::Kind::passes_floor);
  } else {
    push(0, Event::Kind::joins);
  }
  push(holder.want, Event::Kind::leaves);
  return events;
}

void FairShare::replace(const Holder& before, const Holder& after) noexcept {
  tree_->replace(events_of(before), events_of(after));
  want_total_ += Wide{after.want} - before.want;
  floor_total_ += Wide{std::min(after.floor, after.want)} - std::min(before.floor, before.want);
  stale_ = true;
}

FairShare::Slot FairShare::add(const Holder& holder) noexcept {
  Slot slot = free_;
  if (slot == kHoldersMax) {
    must(holders_.size() < kHoldersMax);
    // By a quarter instead of by doubling: half of the array empty would cost as much as the tree.
    if (holders_.size() == holders_.capacity())
      holders_.reserve(holders_.size() + holders_.size() / 4 + 4);
    slot = static_cast<Slot>(holders_.size());
    holders_.emplace_back();
  } else {
    free_ = static_cast<Slot>(holders_[slot].want);
  }
  holders_[slot] = Holder{};
  ++size_;
  ++weight_total_;
  set(slot, holder);
  return slot;
}

void FairShare::set(Slot slot, const Holder& holder) noexcept {
  const Holder& before = this->holder(slot);
  Holder after = holder;
  after.want = std::clamp<std::int64_t>(holder.want, 0, kAmountMax);
  after.floor = std::clamp<std::int64_t>(holder.floor, 0, kAmountMax);
  after.weight = std::max<std::uint32_t>(holder.weight, 1);
  if (after == before) return;
  replace(before, after);
  weight_total_ += after.weight;
  weight_total_ -= before.weight;
  holders_[slot] = after;
}

void FairShare::remove(Slot slot) noexcept {
  const Holder& before = holder(slot);
  replace(before, Holder{});
  weight_total_ -= before.weight;
  --size_;
  holders_[slot] = Holder{.want = free_, .weight = 0};
  free_ = slot;
}

void FairShare::set_capacity(std::int64_t capacity) noexcept {
  capacity_ = std::max<std::int64_t>(capacity, 0);
  stale_ = true;
}

FairShare::Level FairShare::find_level() const noexcept {
  if (capacity_ >= want_total_) return {};
  if (capacity_ < floor_total_) return tree_->level_at(capacity_, true);
  return tree_->level_at(capacity_ - floor_total_, false);
}

void FairShare::refresh() const noexcept {
  if (!stale_) return;
  level_ = find_level();
  stale_ = false;
}

std::int64_t FairShare::share(Slot slot) const noexcept {
  refresh();
  return share_of(holder(slot));
}

std::int64_t FairShare::share_of(const Holder& holder) const noexcept {
  if (level_.plenty) return holder.want;
  const std::int64_t floor = std::min(holder.floor, holder.want);
  const std::int64_t least = level_.floors ? 0 : floor;
  const std::int64_t most = level_.floors ? floor : holder.want;
  if (holder.band != level_.band) return holder.band > level_.band ? most : least;
  // Rounded down only here; the bounds are whole numbers, so that rounding first changes nothing.
  const Wide exact =
      Wide{level_.whole} * holder.weight + Wide{level_.part} * holder.weight / level_.slope;
  return static_cast<std::int64_t>(std::clamp<Wide>(exact, least, most));
}

const FairShare::Holder& FairShare::holder(Slot slot) const noexcept {
  must(slot < holders_.size() && holders_[slot].weight > 0);
  return holders_[slot];
}

std::int64_t FairShare::want_total() const noexcept {
  return static_cast<std::int64_t>(
      std::min<Wide>(want_total_, std::numeric_limits<std::int64_t>::max()));
}

}  // namespace weir::lease
