#include "agent/cli/terminal.h"

#define NCURSES_NOMACROS 1
#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

namespace weir::cli {

namespace {

constexpr short kGood = 1;
constexpr short kWarn = 2;
constexpr short kBad = 3;
constexpr int kEscapeDelayMs = 50;
constexpr int kControlC = 3;
constexpr int kControlL = 12;
constexpr int kControlZ = 26;

attr_t attributes(TopStyle style) {
  const auto color = [](short pair) { return static_cast<attr_t>(COLOR_PAIR(pair)); };
  switch (style) {
    case TopStyle::plain:
      return A_NORMAL;
    case TopStyle::bold:
      return A_BOLD;
    case TopStyle::dim:
      return A_DIM;
    case TopStyle::good:
      return color(kGood);
    case TopStyle::warn:
      return color(kWarn);
    case TopStyle::bad:
      return color(kBad) | A_BOLD;
    case TopStyle::selected:
      return A_REVERSE;
  }
  return A_NORMAL;
}

void start_colors() {
  ::start_color();
  ::use_default_colors();
  ::init_pair(kGood, COLOR_GREEN, -1);
  ::init_pair(kWarn, COLOR_YELLOW, -1);
  ::init_pair(kBad, COLOR_RED, -1);
}

std::optional<int> to_key(int code) {
  const auto named = [](TopKey key) { return static_cast<int>(key); };
  switch (code) {
    case KEY_UP:
      return named(TopKey::up);
    case KEY_DOWN:
      return named(TopKey::down);
    case KEY_PPAGE:
      return named(TopKey::page_up);
    case KEY_NPAGE:
      return named(TopKey::page_down);
    case KEY_HOME:
      return named(TopKey::home);
    case KEY_END:
      return named(TopKey::end);
    case KEY_ENTER:
    case '\n':
    case '\r':
      return named(TopKey::enter);
    case 27:
      return named(TopKey::escape);
    case KEY_BACKSPACE:
    case '\b':
    case 127:
      return named(TopKey::backspace);
    case kControlC:
      return named(TopKey::interrupt);
    default:
      break;
  }
  if (code >= 0 && code < 256) return code;
  return std::nullopt;
}

}  // namespace

std::unique_ptr<Terminal> Terminal::open(ColorMode color, std::string& error) {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0) {
    error = "top needs a terminal; `weir top --once` prints one screen as text";
    return nullptr;
  }
  // initscr() would end the program where newterm() says no.
  SCREEN* screen = ::newterm(nullptr, stdout, stdin);
  if (screen == nullptr) {
    const char* term = std::getenv("TERM");
    error = std::string{"the terminal type '"} + (term == nullptr ? "" : term) +
            "' is unknown; set TERM, or use `weir top --once`";
    return nullptr;
  }
  std::unique_ptr<Terminal> terminal{new Terminal};
  terminal->screen_ = screen;
  ::raw();  // Ctrl-C comes as a key, so that the terminal is always put back
  ::noecho();
  ::keypad(stdscr, TRUE);
  ::set_escdelay(kEscapeDelayMs);
  ::curs_set(0);
  if (color != ColorMode::never && ::has_colors()) start_colors();
  return terminal;
}

Terminal::~Terminal() {
  ::endwin();
  ::delscreen(static_cast<SCREEN*>(screen_));
}

ScreenSize Terminal::size() const {
  return {static_cast<std::size_t>(std::max(::getmaxx(stdscr), 0)),
          static_cast<std::size_t>(std::max(::getmaxy(stdscr), 0))};
}

void Terminal::draw(const std::vector<Line>& lines) {
  ::werase(stdscr);
  int row = 0;
  for (const Line& line : lines) {
    ::wmove(stdscr, row++, 0);
    for (const Span& span : line) {
      ::wattrset(stdscr, static_cast<int>(attributes(span.style)));
      ::waddnstr(stdscr, span.text.data(), static_cast<int>(span.text.size()));
    }
  }
  ::wattrset(stdscr, static_cast<int>(A_NORMAL));
  ::wrefresh(stdscr);
}

std::optional<int> Terminal::read_key(int timeout_ms) {
  ::wtimeout(stdscr, timeout_ms);
  const int code = ::wgetch(stdscr);
  if (code == ERR || code == KEY_RESIZE) return std::nullopt;
  if (code == kControlL) {
    ::clearok(stdscr, TRUE);
    return std::nullopt;
  }
  if (code == kControlZ) {
    ::endwin();
    ::raise(SIGTSTP);
    ::wrefresh(stdscr);
    return std::nullopt;
  }
  return to_key(code);
}

}  // namespace weir::cli
