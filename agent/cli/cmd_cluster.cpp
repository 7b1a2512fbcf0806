// weir cluster: what the token server says of limits and hosts, through the agent of this host. So
// it needs no credentials at the shell; who may ask the agent may ask this.
#include <algorithm>
#include <chrono>
#include <ostream>
#include <sstream>

#include "agent/cli/cluster_view.h"
#include "agent/cli/commands.h"
#include "agent/cli/terminal.h"

namespace weir::cli {

namespace {

using Clock = std::chrono::steady_clock;

template <class Report>
Json list_of(const std::vector<Report>& reports) {
  Json array = Json::array();
  for (const Report& report : reports)
    array.push_back(to_json(report));
  return array;
}

void sort_limits(std::vector<v1::LimitReport>& limits, SortKey key) {
  const auto figure = [key](const v1::LimitReport& limit) -> std::uint64_t {
    if (key == SortKey::admitted) return limit.spent_per_s();
    if (key == SortKey::refused) return limit.refused_per_s();
    if (key == SortKey::waiting) return limit.wanted_rate();
    return 0;
  };
  std::stable_sort(limits.begin(), limits.end(), [&](const auto& a, const auto& b) {
    if (figure(a) != figure(b)) return figure(a) > figure(b);
    return a.name() < b.name();
  });
}

void print_tables(const Context& context, const ClusterAnswer& answer) {
  if (!answer.limits.empty()) limits_table(context, answer.limits).print(context);
  if (answer.concurrency.empty()) return;
  if (!answer.limits.empty()) context.out << '\n';
  concurrency_table(context, answer.concurrency).print(context);
}

// The screen as lines of plain text.
std::vector<std::string> screen_of(const Context& context, ClusterAnswer& answer, SortKey key) {
  std::ostringstream text;
  Context plain{text, context.err, context.paths, Output::table, false, true, context.charset};
  const v1::ServerReport& server = answer.server;
  text << "weir cluster top   " << context.escaped(server.namespace_name()) << " at "
       << context.escaped(server.name()) << "   " << plural(server.hosts(), "host", "hosts")
       << "   " << format_count(server.requests_per_s()) << " requests/s"
       << (server.learning_left_ms() != 0 ? "   learning" : "") << "\n\n";
  sort_limits(answer.limits, key);
  print_tables(plain, answer);
  std::vector<std::string> lines;
  std::istringstream in(text.str());
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

std::vector<Line> styled_screen(const std::vector<std::string>& lines, const std::string& trouble,
                                ScreenSize size, const Context& context) {
  std::vector<Line> screen;
  for (std::size_t i = 0; i < lines.size() && i + 1 < size.rows; ++i)
    screen.push_back({{shorten(lines[i], size.columns, context.charset),
                       i == 2 ? TopStyle::bold : TopStyle::plain}});
  const std::string keys = "q quit   n name   a admitted   r refused   w wanted";
  screen.push_back({{shorten(trouble.empty() ? keys : trouble, size.columns, context.charset),
                     trouble.empty() ? TopStyle::dim : TopStyle::bad}});
  return screen;
}

bool on_key(int key, SortKey& sort) {
  switch (key) {
    case 'q':
    case 'Q':
    case 27:
      return false;
    case 'n':
      sort = SortKey::name;
      break;
    case 'a':
      sort = SortKey::admitted;
      break;
    case 'r':
      sort = SortKey::refused;
      break;
    case 'w':
      sort = SortKey::waiting;
      break;
    default:
      break;
  }
  return true;
}

int run_live(const Context& context, const TopOptions& options, ClusterAnswer answer,
             Terminal& terminal) {
  SortKey sort = options.sort;
  std::string trouble;
  const auto interval = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.interval_s));
  Clock::time_point next = Clock::now() + interval;
  while (true) {
    if (Clock::now() >= next) {
      if (auto fresh = ask_cluster(context, v1::CLUSTER_TOPIC_LIMITS)) {
        answer = std::move(*fresh);
        trouble.clear();
      } else {
        trouble = context.escaped(fresh.error().text);
      }
      next = Clock::now() + interval;
    }
    terminal.draw(
        styled_screen(screen_of(context, answer, sort), trouble, terminal.size(), context));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
    const auto wait =
        std::clamp(left, std::chrono::milliseconds{0}, std::chrono::milliseconds{500});
    if (const auto key = terminal.read_key(static_cast<int>(wait.count())))
      if (!on_key(*key, sort)) return kExitOk;
  }
}

}  // namespace

int cmd_cluster_status(const Context& context) {
  auto answer = ask_cluster(context, v1::CLUSTER_TOPIC_LIMITS);
  if (!answer) return context.fail(answer.error());
  if (context.json()) {
    print_json(context, {{"server", to_json(answer->server)},
                         {"limits", list_of(answer->limits)},
                         {"concurrency", list_of(answer->concurrency)}});
    return kExitOk;
  }
  Facts facts;
  add_server(context, answer->server, facts);
  facts.print(context);
  if (answer->limits.empty() && answer->concurrency.empty()) return kExitOk;
  context.out << '\n';
  sort_limits(answer->limits, SortKey::name);
  print_tables(context, *answer);
  return kExitOk;
}

int cmd_cluster_hosts(const Context& context, const std::string& limit) {
  auto answer = ask_cluster(context, v1::CLUSTER_TOPIC_HOSTS, limit);
  if (!answer) return context.fail(answer.error());
  std::stable_sort(answer->hosts.begin(), answer->hosts.end(), [](const auto& a, const auto& b) {
    return a.wanted_rate() != b.wanted_rate() ? a.wanted_rate() > b.wanted_rate()
                                              : a.host() < b.host();
  });
  if (context.json()) {
    print_json(context, {{"server", to_json(answer->server)},
                         {"limits", list_of(answer->limits)},
                         {"hosts", list_of(answer->hosts)},
                         {"permit_hosts", list_of(answer->permit_hosts)}});
    return kExitOk;
  }
  const Table table = hosts_table(context, answer->hosts, !limit.empty());
  const Table permits = permit_hosts_table(context, answer->permit_hosts);
  if (!permits.empty()) {
    if (!table.empty()) {
      table.print(context);
      context.out << '\n';
    }
    permits.print(context);
  } else if (table.empty())
    context.err << "weir: no host " << (limit.empty() ? "is there" : "has asked for it") << '\n';
  else
    table.print(context);
  return kExitOk;
}

int cmd_cluster_top(const Context& context, const TopOptions& options) {
  if (context.json())
    return context.fail("top has no JSON; `weir cluster status -o json` prints the same figures",
                        kExitUsage);
  auto answer = ask_cluster(context, v1::CLUSTER_TOPIC_LIMITS);
  if (!answer) return context.fail(answer.error());
  if (options.once) {
    for (const std::string& line : screen_of(context, *answer, options.sort))
      context.out << line << '\n';
    return kExitOk;
  }
  std::string why_not;
  const auto terminal =
      Terminal::open(context.color ? ColorMode::automatic : ColorMode::never, why_not);
  if (!terminal) return context.fail(why_not);
  return run_live(context, options, std::move(*answer), *terminal);
}

}  // namespace weir::cli
