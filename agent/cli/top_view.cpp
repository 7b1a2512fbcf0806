#include "agent/cli/top_view.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "agent/cli/cpu_figures.h"
#include "agent/cli/explain.h"
#include "agent/cli/resources.h"
#include "agent/cli/top_resources.h"

namespace weir::cli {

namespace {

constexpr std::size_t kHeaderRows = 4;  // two lines about the host, a gap, the titles
constexpr std::size_t kFooterRows = 1;
constexpr std::size_t kFigureColumns = 10;
constexpr std::size_t kBarColumns = 10;

// Which columns there is room for. The name takes what the others leave.
struct Layout {
  std::size_t name = 0;
  bool tokens = false;
  bool waiting = false;
  bool bar = false;
  std::size_t spark = 0;
};

Layout layout_for(std::size_t columns) {
  Layout layout;
  std::size_t used = 2 * (kFigureColumns + 1);
  constexpr std::size_t kNameMin = 16;
  const auto take = [&](std::size_t width) {
    if (used + width + 1 + kNameMin > columns) return false;
    used += width + 1;
    return true;
  };
  layout.tokens = take(kFigureColumns + 6);
  layout.bar = take(kBarColumns);
  layout.waiting = columns >= 90 && take(8);
  if (columns >= 80) {
    const std::size_t room = columns - used - kNameMin;
    const std::size_t spark = std::min(room > 8 ? room / 2 : 0, kHistorySamples);
    if (spark >= 6 && take(spark)) layout.spark = spark;
  }
  layout.name = columns - used;
  return layout;
}

std::string escaped(const Context& context, std::string_view text) { return context.escaped(text); }

Line cut(Line line, std::size_t columns_max, Charset charset) {
  std::size_t used = 0;
  for (Span& span : line) {
    span.text = shorten(span.text, columns_max - used, charset);
    used += columns(span.text);
  }
  return line;
}

std::string seconds(double value) {
  return value < 1 ? format_per_s(value * 1000) + " ms" : format_per_s(value) + " s";
}

Line first_line(const Context& context, const TopModel& model, std::string_view clock_text) {
  Line line{{"weir top", TopStyle::bold}};
  const bool resources = model.shows_resources();
  const std::size_t all = resources ? static_cast<std::size_t>(model.resources().resources_size())
                                    : model.limits().size();
  const std::size_t shown = model.visible().size();
  std::string text =
      "  " + (shown == all ? std::string{} : std::to_string(shown) + " of ") +
      (resources ? plural(all, "resource", "resources") : plural(all, "limit", "limits")) +
      ", by " + std::string{to_text(model.sort())} + (model.reversed() ? " (reversed)" : "") +
      ", every " + seconds(model.interval_s());
  if (!model.filter().empty()) text += ", filter '" + escaped(context, model.filter()) + "'";
  line.push_back({text});
  if (model.paused()) line.push_back({"  PAUSED", TopStyle::warn});
  line.push_back({"  " + std::string{clock_text}, TopStyle::dim});
  return line;
}

Line second_line(const Context& context, const TopModel& model, std::size_t width) {
  if (!model.trouble().empty()) return {{escaped(context, model.trouble()), TopStyle::bad}};
  if (!model.status()) return {{"waiting for the agent"}};
  const auto& status = *model.status();
  double admitted = 0;
  double refused = 0;
  std::uint64_t clients = 0;
  for (const auto& limit : model.limits()) {
    admitted += limit.spent_per_s();
    refused += limit.refused_per_s();
  }
  for (const auto& domain : status.domains())
    clients += domain.clients();
  Line line;
  if (width >= 80)
    line.push_back({"agent " + escaped(context, status.version()) + " up " +
                    format_ms(status.uptime_ms()) + "  "});
  line.push_back({plural(clients, "client", "clients") + "  admitted "});
  line.push_back({format_per_s(admitted) + "/s", TopStyle::good});
  line.push_back({"  refused "});
  line.push_back(
      {format_per_s(refused) + "/s", refused >= 0.005 ? TopStyle::bad : TopStyle::plain});
  if (const auto cpu = CpuFigures{status.cpu()}.smoothed_permille)
    line.push_back({"  cpu " + format_permille(*cpu)});
  for (const auto& domain : status.domains())
    if (domain.office_lost())
      line.push_back({"  fallback in " + escaped(context, domain.name()), TopStyle::bad});
  if (!status.rules_error().empty())
    line.push_back({"  last reload refused (weir status)", TopStyle::bad});
  return line;
}

Line title_line(const Layout& layout, Charset charset) {
  std::string text = fit("NAME", layout.name, charset) + " " +
                     fit_right("ADMITTED/S", kFigureColumns, charset) + " " +
                     fit_right("REFUSED/S", kFigureColumns, charset);
  if (layout.tokens) text += " " + fit_right("TOKENS", kFigureColumns + 6, charset);
  if (layout.bar) text += " " + fit("FILL", kBarColumns, charset);
  if (layout.waiting) text += " " + fit_right("WAITING", 8, charset);
  if (layout.spark != 0) text += " " + fit("TREND", layout.spark, charset);
  return {{text, TopStyle::bold}};
}

TopStyle fill_style(double fill) {
  if (fill < 0.05) return TopStyle::bad;
  return fill < 0.25 ? TopStyle::warn : TopStyle::good;
}

Line limit_line(const Context& context, const TopModel& model, const v1::LimitStatus& limit,
                const Layout& layout, bool selected) {
  const Charset charset = context.charset;
  const double fill = fill_of(limit);
  const auto styled = [&](TopStyle style) { return selected ? TopStyle::selected : style; };
  Line line{{fit(shown_name(context, limit.domain(), limit.name()), layout.name, charset),
             styled(TopStyle::plain)}};
  const auto add = [&](std::string text, TopStyle style) {
    line.push_back({" ", styled(TopStyle::plain)});
    line.push_back({std::move(text), styled(style)});
  };
  add(fit_right(format_per_s(limit.spent_per_s()), kFigureColumns, charset), TopStyle::plain);
  add(fit_right(format_per_s(limit.refused_per_s()), kFigureColumns, charset),
      limit.refused_per_s() >= 0.005 ? TopStyle::bad : TopStyle::plain);
  if (layout.tokens)
    add(fit_right(format_count(limit.level()) + "/" + format_count(limit.burst()),
                  kFigureColumns + 6, charset),
        TopStyle::plain);
  if (layout.bar) add(fill_bar(fill, kBarColumns, charset), fill_style(fill));
  if (layout.waiting)
    add(fit_right(format_count(limit.waiting()), 8, charset),
        limit.waiting() != 0 ? TopStyle::warn : TopStyle::plain);
  if (layout.spark != 0)
    add(sparkline(model.history(limit), layout.spark, charset), TopStyle::plain);
  return line;
}

Line footer(const Context& context, const TopModel& model) {
  if (model.mode() == TopMode::filter)
    return {{"filter: ", TopStyle::bold},
            {escaped(context, model.filter()) + "_"},
            {"   Enter keeps it, Esc clears it", TopStyle::dim}};
  std::string place;
  if (!model.visible().empty())
    place =
        std::to_string(model.cursor() + 1) + "/" + std::to_string(model.visible().size()) + "  ";
  return {{place + "q quit  ? help  s sort  / filter  o resources  Enter details  p pause",
           TopStyle::dim}};
}

void add_help(std::vector<Line>& lines) {
  static constexpr std::array<std::array<const char*, 2>, 13> kKeys{{
      {"q, Ctrl-C", "quit"},
      {"?, h", "this help; the same key or Esc leaves it"},
      {"up, down, j, k", "move; Page Up, Page Down, Home (g), End (G)"},
      {"Enter", "explain the chosen limit"},
      {"s", "sort by the next column"},
      {"a, x, t, w, n", "sort by admitted, refused, tokens left, waiting, name"},
      {"r", "reverse the order"},
      {"/", "show only the names that contain a text"},
      {"o", "the resources in place of the limits, and back"},
      {"Esc", "clear the filter"},
      {"p, space", "pause"},
      {"+, -", "slower, faster"},
      {"", "REFUSED/S counts calls, the other figures count tokens"},
  }};
  for (const auto& [key, text] : kKeys) {
    std::string shown = key;
    shown.append(18 - std::min<std::size_t>(18, shown.size()), ' ');
    lines.push_back({{"  " + shown, TopStyle::bold}, {text}});
  }
}

void add_details(const Context& context, const TopModel& model, std::size_t width,
                 std::vector<Line>& lines) {
  const auto* limit = model.selected();
  const auto* resource = model.selected_resource();
  if (limit == nullptr && resource == nullptr) {
    lines.push_back({{"nothing is chosen"}});
    return;
  }
  constexpr std::size_t kTitleColumns = 20;
  const std::size_t text_columns = width - kTitleColumns;
  const auto paragraphs =
      limit != nullptr ? explain(context, *limit) : explain(context, *resource, model.resources());
  for (const Paragraph& paragraph : paragraphs) {
    std::string title = paragraph.title;
    std::string line;
    const auto flush = [&] {
      lines.push_back({{fit(title, kTitleColumns, context.charset), TopStyle::bold}, {line}});
      title.clear();
      line.clear();
    };
    std::size_t begin = 0;
    while (begin < paragraph.text.size()) {
      const std::size_t end = std::min(paragraph.text.find(' ', begin), paragraph.text.size());
      const std::string word = paragraph.text.substr(begin, end - begin);
      if (!line.empty() && columns(line) + 1 + columns(word) > text_columns) flush();
      line += (line.empty() ? "" : " ") + word;
      begin = end + 1;
    }
    flush();
  }
}

void add_list(const Context& context, const TopModel& model, ScreenSize size,
              std::vector<Line>& lines) {
  if (model.shows_resources())
    return add_resource_rows(context, model, size.columns, page_rows(size), lines);
  const Layout layout = layout_for(size.columns);
  lines.push_back(title_line(layout, context.charset));
  const std::size_t end = std::min(model.visible().size(), model.first_row() + page_rows(size));
  for (std::size_t row = model.first_row(); row < end; ++row)
    lines.push_back(limit_line(context, model, model.limits()[model.visible()[row]], layout,
                               row == model.cursor()));
  if (!model.visible().empty() || !model.status()) return;
  lines.push_back({{model.limits().empty() ? "the agent has no limits"
                                           : "no name contains the filter; Esc clears it"}});
}

}  // namespace

std::size_t page_rows(ScreenSize size) noexcept {
  return size.rows > kHeaderRows + kFooterRows ? size.rows - kHeaderRows - kFooterRows : 1;
}

std::vector<Line> render(const Context& context, const TopModel& model, ScreenSize size,
                         std::string_view clock_text) {
  if (size.columns < kScreenColumnsMin || size.rows < kScreenRowsMin) {
    const std::string text = "too small: " + std::to_string(kScreenColumnsMin) + "x" +
                             std::to_string(kScreenRowsMin) + " needed";
    return {{{shorten(text, size.columns, context.charset), TopStyle::bad}}};
  }
  std::vector<Line> lines{
      first_line(context, model, clock_text), second_line(context, model, size.columns), {{""}}};
  switch (model.mode()) {
    case TopMode::help:
      add_help(lines);
      break;
    case TopMode::details:
      add_details(context, model, size.columns, lines);
      break;
    case TopMode::list:
    case TopMode::filter:
      add_list(context, model, size, lines);
      break;
  }
  lines.resize(std::min(lines.size(), size.rows - kFooterRows));
  lines.resize(size.rows - kFooterRows, Line{{""}});
  lines.push_back(footer(context, model));
  for (Line& line : lines)
    line = cut(std::move(line), size.columns, context.charset);
  return lines;
}

std::string sparkline(const std::deque<double>& samples, std::size_t width, Charset charset) {
  static constexpr std::array<const char*, 9> kBlocks{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<const char*, 9> kAscii{" ", ".", ":", "-", "=", "+", "*", "#", "@"};
  const std::size_t shown = std::min(width, samples.size());
  const auto begin = samples.end() - static_cast<std::ptrdiff_t>(shown);
  const double most = shown == 0 ? 0 : *std::max_element(begin, samples.end());
  std::string text(width - shown, ' ');
  for (auto sample = begin; sample != samples.end(); ++sample) {
    std::size_t height = 0;
    // Something is never drawn as nothing.
    if (most >= 0.005 && *sample >= 0.005)
      height =
          std::clamp<std::size_t>(static_cast<std::size_t>(std::lround(*sample / most * 8)), 1, 8);
    text += charset.utf8 ? kBlocks[height] : kAscii[height];
  }
  return text;
}

std::string fill_bar(double fill, std::size_t width, Charset charset) {
  static constexpr std::array<const char*, 8> kParts{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  fill = std::clamp(std::isfinite(fill) ? fill : 0.0, 0.0, 1.0);
  if (!charset.utf8) {
    const auto full = static_cast<std::size_t>(std::lround(fill * static_cast<double>(width)));
    return std::string(full, '#') + std::string(width - full, '.');
  }
  const auto eighths = static_cast<std::size_t>(std::lround(fill * static_cast<double>(width * 8)));
  std::string text;
  for (std::size_t i = 0; i < eighths / 8; ++i)
    text += "█";
  text += kParts[eighths % 8];
  std::size_t used = eighths / 8 + (eighths % 8 != 0 ? 1 : 0);
  for (; used < width; ++used)
    text += "·";
  return text;
}

}  // namespace weir::cli
