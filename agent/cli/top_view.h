// `weir top` as lines of styled text: what the terminal shows, without a terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/top_model.h"

namespace weir::cli {

inline constexpr std::size_t kScreenColumnsMin = 40;
inline constexpr std::size_t kScreenRowsMin = 8;

enum class TopStyle { plain, bold, dim, good, warn, bad, selected };

struct Span {
  std::string text;  // escaped
  TopStyle style = TopStyle::plain;
};
using Line = std::vector<Span>;

struct ScreenSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

// How many limits fit on a screen of this size.
std::size_t page_rows(ScreenSize size) noexcept;

// At most size.rows lines of at most size.columns columns. `clock_text` is the time to show.
std::vector<Line> render(const Context& context, const TopModel& model, ScreenSize size,
                         std::string_view clock_text);

// The newest samples, scaled to the largest of them.
std::string sparkline(const std::deque<double>& samples, std::size_t width, Charset charset);
std::string fill_bar(double fill, std::size_t width, Charset charset);

}  // namespace weir::cli
