// The state of `weir top`: figures and their history, order, filter, cursor. No terminal, no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/limits.h"
#include "agent/cli/resources.h"

namespace weir::cli {

inline constexpr std::size_t kHistorySamples = 60;
inline constexpr std::size_t kFilterBytesMax = 64;
inline constexpr double kIntervalMinS = 0.1;
inline constexpr double kIntervalMaxS = 60;

// A byte of text, or one of these.
enum class TopKey : int {
  up = 256,
  down,
  page_up,
  page_down,
  home,
  end,
  enter,
  escape,
  backspace,
  interrupt,
};

enum class TopMode { list, help, filter, details };

class TopModel {
 public:
  explicit TopModel(const TopOptions& options);

  void feed(const v1::StatusResponse& status, Limits limits, v1::ResourcesResponse resources = {});
  // Why there are no new figures; the last ones stay on the screen.
  void set_trouble(std::string text) { trouble_ = std::move(text); }

  // False: leave.
  bool on_key(int key);
  // How many limits the screen has room for, so that pages and scrolling fit it.
  void set_page_rows(std::size_t rows);

  const std::optional<v1::StatusResponse>& status() const noexcept { return status_; }
  const std::string& trouble() const noexcept { return trouble_; }
  const Limits& limits() const noexcept { return limits_; }
  const v1::ResourcesResponse& resources() const noexcept { return resources_; }
  // Whether the list is that of the resources: chosen by a key, or for want of any limit.
  bool shows_resources() const noexcept;
  // Indexes into limits(), or the resources, of those that pass the filter, in order.
  const std::vector<std::size_t>& visible() const noexcept { return visible_; }
  const std::deque<double>& history(const v1::LimitStatus& limit) const;

  TopMode mode() const noexcept { return mode_; }
  SortKey sort() const noexcept { return sort_; }
  bool reversed() const noexcept { return reversed_; }
  bool paused() const noexcept { return paused_; }
  double interval_s() const noexcept { return interval_s_; }
  const std::string& filter() const noexcept { return filter_; }
  std::size_t cursor() const noexcept { return cursor_; }
  std::size_t first_row() const noexcept { return first_row_; }
  const v1::LimitStatus* selected() const;
  const v1::ResourceStatus* selected_resource() const;

 private:
  using HistoryKey = std::pair<std::string, std::string>;  // domain, name

  // False: leave.
  bool on_list_key(int key);
  // Whether the key was theirs.
  bool on_move_key(int key);
  bool on_sort_key(int key);
  void on_filter_key(int key);
  void move_to(std::size_t row);
  void next_sort();
  void reorder();
  void order_resources();
  void remember();

  std::optional<v1::StatusResponse> status_;
  std::string trouble_;
  Limits limits_;
  v1::ResourcesResponse resources_;
  bool resources_chosen_;
  std::vector<std::size_t> visible_;
  std::map<HistoryKey, std::deque<double>> history_;

  TopMode mode_ = TopMode::list;
  SortKey sort_;
  bool reversed_ = false;
  bool paused_ = false;
  double interval_s_;
  std::string filter_;
  std::size_t cursor_ = 0;
  std::size_t first_row_ = 0;
  std::size_t page_rows_ = 1;
};

}  // namespace weir::cli
