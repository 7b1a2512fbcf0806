// The terminal of `weir top`. The one file that knows ncurses.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/top_view.h"

namespace weir::cli {

class Terminal {
 public:
  // Null, with the reason in `error`, where there is no terminal that could be drawn on.
  static std::unique_ptr<Terminal> open(ColorMode color, std::string& error);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  ScreenSize size() const;
  void draw(const std::vector<Line>& lines);
  // A key for TopModel::on_key, or nothing within the time. A change of the terminal's size ends
  // the wait, too.
  std::optional<int> read_key(int timeout_ms);

 private:
  Terminal() = default;
  void* screen_ = nullptr;
};

}  // namespace weir::cli
