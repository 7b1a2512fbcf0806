#include "agent/cli/top_resources.h"

#include <algorithm>

#include "agent/cli/resources.h"

namespace weir::cli {

namespace {

constexpr std::size_t kResourceNameMin = 14;

// Figures from the left; those at the end go first where the screen is narrow.
struct Figure {
  const char* title;
  std::size_t width;
  bool left;
};
constexpr std::array<Figure, 8> kFigures{{{"IN FLIGHT", 11, false},
                                          {"ASKED/S", 8, false},
                                          {"REFUSED/S", 9, false},
                                          {"SHEDS", 7, false},
                                          {"BREAKER", 13, true},
                                          {"RESPONSE", 9, false},
                                          {"FAILED/S", 8, false},
                                          {"RETRIES", 7, false}}};

std::size_t figures_for(std::size_t width) {
  std::size_t used = kResourceNameMin;
  std::size_t count = 0;
  while (count < kFigures.size() && used + 1 + kFigures[count].width <= width)
    used += 1 + kFigures[count++].width;
  return count;
}

std::size_t name_columns(std::size_t width, std::size_t figures) {
  for (std::size_t i = 0; i < figures; ++i)
    width -= 1 + kFigures[i].width;
  return width;
}

TopStyle style_of(Style style) {
  switch (style) {
    case Style::bad:
      return TopStyle::bad;
    case Style::warn:
      return TopStyle::warn;
    case Style::good:
      return TopStyle::good;
    default:
      return TopStyle::plain;
  }
}

Line titles(std::size_t width, Charset charset) {
  const std::size_t figures = figures_for(width);
  std::string text = fit("RESOURCE", name_columns(width, figures), charset);
  for (std::size_t i = 0; i < figures; ++i) {
    const auto& [title, columns, left] = kFigures[i];
    text += " " + (left ? fit(title, columns, charset) : fit_right(title, columns, charset));
  }
  return {{text, TopStyle::bold}};
}

Line row_of(const Context& context, const v1::ResourceStatus& r, std::size_t width, bool selected) {
  const auto bad_if = [](bool bad) { return bad ? TopStyle::bad : TopStyle::plain; };
  const std::array<Span, kFigures.size()> spans{
      {{in_flight_text(r), bad_if(r.concurrency() != 0 && r.in_flight() >= r.concurrency())},
       {format_per_s(r.asked_per_s())},
       {format_per_s(r.refused_per_s()), bad_if(r.refused_per_s() >= 0.005)},
       {shed_text(r), bad_if(r.shed_share() >= 0.0005)},
       {breaker_text(context, r), style_of(breaker_style(r))},
       {response_text(r)},
       {format_per_s(r.failed_per_s()), bad_if(r.failed_per_s() >= 0.005)},
       {r.retry_budget() ? format_count(r.retries_left()) : "-"}}};
  const auto styled = [selected](TopStyle style) { return selected ? TopStyle::selected : style; };
  const std::size_t figures = figures_for(width);
  Line line{{fit(shown_name(context, r.domain(), r.name()), name_columns(width, figures),
                 context.charset),
             styled(TopStyle::plain)}};
  for (std::size_t i = 0; i < figures; ++i) {
    const auto& [title, columns, left] = kFigures[i];
    const std::string text = left ? fit(spans[i].text, columns, context.charset)
                                  : fit_right(spans[i].text, columns, context.charset);
    line.push_back({" ", styled(TopStyle::plain)});
    line.push_back({text, styled(spans[i].style)});
  }
  return line;
}

}  // namespace

void add_resource_rows(const Context& context, const TopModel& model, std::size_t width,
                       std::size_t rows, std::vector<Line>& lines) {
  lines.push_back(titles(width, context.charset));
  const std::size_t end = std::min(model.visible().size(), model.first_row() + rows);
  for (std::size_t row = model.first_row(); row < end; ++row)
    lines.push_back(row_of(context,
                           model.resources().resources(static_cast<int>(model.visible()[row])),
                           width, row == model.cursor()));
  if (!model.visible().empty() || !model.status()) return;
  lines.push_back(
      {{model.resources().resources().empty() ? "the agent has no resources; o shows the limits"
                                              : "no name contains the filter; Esc clears it"}});
}

void add_all_resources(const Context& context, const TopModel& model, std::size_t width,
                       std::vector<Line>& lines) {
  lines.push_back(titles(width, context.charset));
  for (const auto& each : model.resources().resources())
    lines.push_back(row_of(context, each, width, false));
}

}  // namespace weir::cli
