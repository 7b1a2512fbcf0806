// The screen is drawn into whatever room there is, and never beyond it.
#include "agent/cli/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>
#include <limits>
#include <sstream>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;

class TopView : public testing::Test {
 protected:
  void SetUp() override {
    std::setlocale(LC_CTYPE, "C.utf8");
    model_.feed(make_status(), {make_limit("/api/order", 120, 3), make_limit("größe \x1b[2J", 1),
                                make_limit("限制限制限制限制限制限制限制限制", 2)});
  }
  std::string text(ScreenSize size, bool utf8 = true) {
    context_.charset.utf8 = utf8;
    model_.set_page_rows(page_rows(size));
    std::string all;
    for (const Line& line : render(context_, model_, size, "12:00:00")) {
      for (const Span& span : line)
        all += span.text;
      all += '\n';
    }
    return all;
  }

  std::ostringstream out_;
  Context context_{out_, out_, {}, Output::table, false, true, {true}};
  TopModel model_{{}};
};

TEST_F(TopView, ShowsFiguresAndBars) {
  const std::string screen = text({120, 12});

  EXPECT_THAT(screen, HasSubstr("3 limits, by admitted, every 1 s"));
  EXPECT_THAT(screen, HasSubstr("5 clients  admitted 123/s  refused 3/s"));
  EXPECT_THAT(screen, HasSubstr("450/600"));
  EXPECT_THAT(screen, HasSubstr("███████▌··"));
  EXPECT_THAT(screen, HasSubstr("größe \\x1b[2J"));
}

TEST_F(TopView, FitsEverySize) {
  for (const bool utf8 : {true, false}) {
    for (const int mode : {0, int{'?'}, int{'/'}, static_cast<int>(TopKey::enter)}) {
      model_.on_key(static_cast<int>(TopKey::escape));
      if (mode != 0) model_.on_key(mode);
      for (std::size_t width = 1; width < 200; width += 3) {
        for (const std::size_t height : {1U, 7U, 8U, 9U, 24U, 60U}) {
          std::istringstream screen{text({width, height}, utf8)};
          std::size_t rows = 0;
          for (std::string line; std::getline(screen, line); ++rows)
            ASSERT_LE(columns(line), width) << width << "x" << height << ": " << line;
          ASSERT_LE(rows, height);
        }
      }
      model_.on_key(static_cast<int>(TopKey::escape));
    }
  }
}

TEST_F(TopView, SaysThatItIsTooSmall) { EXPECT_EQ(text({39, 24}), "too small: 40x8 needed\n"); }

TEST_F(TopView, IsAsciiWithoutUtf8) {
  for (const char c : text({120, 12}, false))
    ASSERT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f));
}

TEST_F(TopView, ShowsTheLastFiguresWhenTheAgentIsGone) {
  model_.set_trouble("no agent at /x: gone\x1b");

  const std::string screen = text({100, 12});

  EXPECT_THAT(screen, HasSubstr("no agent at /x: gone\\x1b"));
  EXPECT_THAT(screen, HasSubstr("/api/order"));
}

TEST_F(TopView, ExplainsTheChosenLimit) {
  model_.on_key(static_cast<int>(TopKey::enter));

  EXPECT_THAT(text({100, 30}), HasSubstr("Token bucket: tokens flow in"));
}

TEST(Sparkline, ScalesToItsLargest) {
  EXPECT_EQ(sparkline({0, 1, 4, 8}, 6, {true}), "   ▁▄█");
  EXPECT_EQ(sparkline({0, 1, 4, 8}, 2, {true}), "▄█");
  EXPECT_EQ(sparkline({0, 1, 4, 8}, 4, {false}), " .=@");
  EXPECT_EQ(sparkline({}, 3, {true}), "   ");
  EXPECT_EQ(sparkline({0, 0}, 2, {true}), "  ");
  EXPECT_EQ(sparkline({0.01, 1000}, 2, {true}), "▁█");
}

TEST(FillBar, StaysInItsWidth) {
  EXPECT_EQ(fill_bar(0, 4, {true}), "····");
  EXPECT_EQ(fill_bar(1, 4, {true}), "████");
  EXPECT_EQ(fill_bar(0.5, 4, {false}), "##..");
  EXPECT_EQ(fill_bar(7, 4, {false}), "####");
  EXPECT_EQ(fill_bar(std::numeric_limits<double>::quiet_NaN(), 4, {false}), "....");
}

}  // namespace
}  // namespace weir::cli
