#include "agent/cli/top_model.h"

#include <algorithm>
#include <cctype>

namespace weir::cli {

namespace {

std::string lowered(std::string_view text) {
  std::string out{text};
  for (char& c : out)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_key(int key, TopKey named) { return key == static_cast<int>(named); }

}  // namespace

TopModel::TopModel(const TopOptions& options)
    : resources_chosen_(options.resources),
      sort_(options.sort),
      interval_s_(std::clamp(options.interval_s, kIntervalMinS, kIntervalMaxS)),
      filter_(options.filter.substr(0, kFilterBytesMax)) {}

bool TopModel::shows_resources() const noexcept {
  return resources_chosen_ || (limits_.empty() && !resources_.resources().empty());
}

void TopModel::feed(const v1::StatusResponse& status, Limits limits,
                    v1::ResourcesResponse resources) {
  status_ = status;
  trouble_.clear();
  limits_ = std::move(limits);
  resources_ = std::move(resources);
  remember();
  reorder();
}

// A limit that is gone takes its history with it, so the memory is that of the limits there are.
void TopModel::remember() {
  std::map<HistoryKey, std::deque<double>> kept;
  for (const auto& limit : limits_) {
    const HistoryKey key{limit.domain(), limit.name()};
    auto& samples = kept[key];
    if (const auto old = history_.find(key); old != history_.end())
      samples = std::move(old->second);
    samples.push_back(limit.spent_per_s());
    if (samples.size() > kHistorySamples) samples.pop_front();
  }
  history_ = std::move(kept);
}

const std::deque<double>& TopModel::history(const v1::LimitStatus& limit) const {
  static const std::deque<double> kNone;
  const auto found = history_.find({limit.domain(), limit.name()});
  return found == history_.end() ? kNone : found->second;
}

// The cursor stays at its place on the screen, not with its limit: what is busiest stays in view.
void TopModel::reorder() {
  sort_limits(limits_, sort_, reversed_);
  order_resources();
  visible_.clear();
  const std::string wanted = lowered(filter_);
  const auto look_at = [&](std::size_t i, const std::string& name) {
    if (wanted.empty() || lowered(name).find(wanted) != std::string::npos) visible_.push_back(i);
  };
  if (shows_resources())
    for (int i = 0; i < resources_.resources_size(); ++i)
      look_at(static_cast<std::size_t>(i), resources_.resources(i).name());
  else
    for (std::size_t i = 0; i < limits_.size(); ++i)
      look_at(i, limits_[i].name());
  move_to(cursor_);
}

// The same keys mean what comes nearest: what is asked, refused, how full it is, what is in flight.
void TopModel::order_resources() {
  const auto figure = [this](const v1::ResourceStatus& r) {
    const double room = static_cast<double>(std::max<std::uint64_t>(r.concurrency(), 1));
    switch (sort_) {
      case SortKey::admitted:
        return r.asked_per_s();
      case SortKey::refused:
        return r.refused_per_s();
      case SortKey::level:
        return r.concurrency() == 0 ? 0.0 : static_cast<double>(r.in_flight()) / room;
      case SortKey::waiting:
        return static_cast<double>(r.in_flight());
      case SortKey::name:
        break;
    }
    return 0.0;
  };
  auto& list = *resources_.mutable_resources();
  std::sort(list.begin(), list.end(), [&](const auto& a, const auto& b) {
    const double left = figure(a);
    const double right = figure(b);
    if (left != right) return reversed_ ? left < right : left > right;
    const int order =
        a.name() != b.name() ? a.name().compare(b.name()) : a.domain().compare(b.domain());
    return sort_ == SortKey::name && reversed_ ? order > 0 : order < 0;
  });
}

void TopModel::set_page_rows(std::size_t rows) {
  page_rows_ = std::max<std::size_t>(rows, 1);
  move_to(cursor_);
}

void TopModel::move_to(std::size_t row) {
  cursor_ = visible_.empty() ? 0 : std::min(row, visible_.size() - 1);
  if (cursor_ < first_row_) first_row_ = cursor_;
  if (cursor_ >= first_row_ + page_rows_) first_row_ = cursor_ - page_rows_ + 1;
  const std::size_t last_first = visible_.size() - std::min(visible_.size(), page_rows_);
  first_row_ = std::min(first_row_, last_first);
}

const v1::LimitStatus* TopModel::selected() const {
  if (shows_resources()) return nullptr;
  return cursor_ < visible_.size() ? &limits_[visible_[cursor_]] : nullptr;
}

const v1::ResourceStatus* TopModel::selected_resource() const {
  if (!shows_resources() || cursor_ >= visible_.size()) return nullptr;
  return &resources_.resources(static_cast<int>(visible_[cursor_]));
}

bool TopModel::on_key(int key) {
  if (is_key(key, TopKey::interrupt)) return false;
  switch (mode_) {
    case TopMode::filter:
      on_filter_key(key);
      return true;
    case TopMode::help:
    case TopMode::details:
      if (key == 'q' || key == '?' || key == 'h' || is_key(key, TopKey::escape) ||
          is_key(key, TopKey::enter))
        mode_ = TopMode::list;
      else if (mode_ == TopMode::details)
        return on_list_key(key);
      return true;
    case TopMode::list:
      break;
  }
  return on_list_key(key);
}

bool TopModel::on_list_key(int key) {
  if (on_move_key(key) || on_sort_key(key)) return true;
  switch (key) {
    case 'q':
      return false;
    case '?':
    case 'h':
      mode_ = TopMode::help;
      break;
    case '/':
      mode_ = TopMode::filter;
      break;
    case 'o':
      resources_chosen_ = !resources_chosen_;
      cursor_ = first_row_ = 0;
      reorder();
      break;
    case 'p':
    case ' ':
      paused_ = !paused_;
      break;
    case '+':
      interval_s_ = std::min(interval_s_ * 2, kIntervalMaxS);
      break;
    case '-':
      interval_s_ = std::max(interval_s_ / 2, kIntervalMinS);
      break;
    case static_cast<int>(TopKey::enter):
      if (selected() != nullptr || selected_resource() != nullptr) mode_ = TopMode::details;
      break;
    case static_cast<int>(TopKey::escape):
      filter_.clear();
      reorder();
      break;
    default:
      break;
  }
  return true;
}

bool TopModel::on_move_key(int key) {
  const std::size_t page = std::max<std::size_t>(page_rows_ - 1, 1);
  if (key == 'k' || is_key(key, TopKey::up))
    move_to(cursor_ == 0 ? 0 : cursor_ - 1);
  else if (key == 'j' || is_key(key, TopKey::down))
    move_to(cursor_ + 1);
  else if (is_key(key, TopKey::page_up))
    move_to(cursor_ - std::min(cursor_, page));
  else if (is_key(key, TopKey::page_down))
    move_to(cursor_ + page);
  else if (key == 'g' || is_key(key, TopKey::home))
    move_to(0);
  else if (key == 'G' || is_key(key, TopKey::end))
    move_to(visible_.size());
  else
    return false;
  return true;
}

bool TopModel::on_sort_key(int key) {
  switch (key) {
    case 's':
      next_sort();
      return true;
    case 'n':
      sort_ = SortKey::name;
      break;
    case 'a':
      sort_ = SortKey::admitted;
      break;
    case 'x':
      sort_ = SortKey::refused;
      break;
    case 't':
      sort_ = SortKey::level;
      break;
    case 'w':
      sort_ = SortKey::waiting;
      break;
    case 'r':
      reversed_ = !reversed_;
      break;
    default:
      return false;
  }
  reorder();
  return true;
}

void TopModel::on_filter_key(int key) {
  if (is_key(key, TopKey::enter)) {
    mode_ = TopMode::list;
  } else if (is_key(key, TopKey::escape)) {
    filter_.clear();
    mode_ = TopMode::list;
  } else if (is_key(key, TopKey::backspace)) {
    // A character may have several bytes; the ones behind its first are 10xxxxxx.
    while (!filter_.empty() && (static_cast<unsigned char>(filter_.back()) & 0xc0) == 0x80)
      filter_.pop_back();
    if (!filter_.empty()) filter_.pop_back();
  } else if (key >= 0x20 && key < 256 && key != 0x7f && filter_.size() < kFilterBytesMax) {
    filter_.push_back(static_cast<char>(key));
  }
  reorder();
}

void TopModel::next_sort() {
  switch (sort_) {
    case SortKey::admitted:
      sort_ = SortKey::refused;
      break;
    case SortKey::refused:
      sort_ = SortKey::level;
      break;
    case SortKey::level:
      sort_ = SortKey::waiting;
      break;
    case SortKey::waiting:
      sort_ = SortKey::name;
      break;
    case SortKey::name:
      sort_ = SortKey::admitted;
      break;
  }
  reorder();
}

}  // namespace weir::cli
