// weir top: the loop between the agent, the model and the terminal.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <ostream>
#include <thread>

#include "agent/cli/commands.h"
#include "agent/cli/terminal.h"
#include "agent/cli/top_model.h"
#include "agent/cli/top_resources.h"
#include "agent/cli/top_view.h"

namespace weir::cli {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kTopCallTimeout{1000};  // the keys wait meanwhile
constexpr std::chrono::milliseconds kKeyWaitMax{500};

// Asks the agent again and again over one connection, and makes a new one when it is lost.
class Feed {
 public:
  explicit Feed(const Context& context) : context_(context) {}

  std::optional<net::Error> update(TopModel& model) {
    if (!client_) {
      auto connected = net::AdminClient::connect(context_.paths.admin_socket, kTopCallTimeout);
      if (!connected) return connected.error();
      client_.emplace(std::move(*connected));
    }
    v1::AdminRequest request;
    request.mutable_status();
    auto status = client_->call(request);
    if (!status) return lost(status.error());
    if (!status->has_status()) return lost(unexpected_answer(client_->path()));
    auto limits = fetch_limits(*client_, "", "");
    if (!limits) return lost(limits.error());
    auto resources = fetch_resources(*client_, "", "");
    if (!resources) return lost(resources.error());
    model.feed(status->status(), std::move(*limits), std::move(*resources));
    return std::nullopt;
  }

 private:
  net::Error lost(net::Error error) {
    client_.reset();
    return error;
  }
  const Context& context_;
  std::optional<net::AdminClient> client_;
};

Clock::duration to_duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string clock_text() {
  const std::time_t wall = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&wall, &parts);
  char text[16];
  return std::strftime(text, sizeof(text), "%H:%M:%S", &parts) != 0 ? text : "";
}

std::string host_text() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0) return {};
  return name;
}

int print_once(const Context& context, const TopOptions& options, TopModel& model, Feed& feed) {
  for (std::uint32_t sample = 0; sample < std::max(options.samples, 1U); ++sample) {
    if (sample != 0) std::this_thread::sleep_for(to_duration(options.interval_s));
    if (const auto error = feed.update(model)) return context.fail(*error);
  }
  ScreenSize size{std::max<std::size_t>(options.width, kScreenColumnsMin), 0};
  size.rows = std::max(kScreenRowsMin, model.visible().size() + 5);
  model.set_page_rows(page_rows(size));
  auto lines = render(context, model, size, clock_text());
  lines.pop_back();  // the keys
  if (!model.shows_resources() && !model.resources().resources().empty()) {
    lines.push_back({});
    add_all_resources(context, model, size.columns, lines);
  }
  for (const Line& line : lines) {
    std::string text;
    for (const Span& span : line)
      text += span.text;
    text.erase(text.find_last_not_of(' ') + 1);
    context.out << text << '\n';
  }
  return kExitOk;
}

int run_live(const Context& context, TopModel& model, Feed& feed, Terminal& terminal) {
  const std::string host = context.escaped(host_text());
  Clock::time_point next_update = Clock::now();
  while (true) {
    if (Clock::now() >= next_update) {
      if (!model.paused())
        if (const auto error = feed.update(model)) model.set_trouble(error->text);
      next_update = Clock::now() + to_duration(model.interval_s());
    }
    const ScreenSize size = terminal.size();
    model.set_page_rows(page_rows(size));
    terminal.draw(render(context, model, size, host + " " + clock_text()));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_update - Clock::now());
    const auto wait = std::clamp(left, std::chrono::milliseconds{0}, kKeyWaitMax);
    const double interval_before_s = model.interval_s();
    if (const auto key = terminal.read_key(static_cast<int>(wait.count())))
      if (!model.on_key(*key)) return kExitOk;
    // A faster interval begins now, not after the slow one.
    if (model.interval_s() != interval_before_s)
      next_update = std::min(next_update, Clock::now() + to_duration(model.interval_s()));
  }
}

}  // namespace

int cmd_top(const Context& context, const TopOptions& options) {
  TopModel model{options};
  Feed feed{context};
  if (context.json())
    return context.fail("top has no JSON; `weir list -o json` prints the same figures", kExitUsage);
  if (options.once) return print_once(context, options, model, feed);
  // Who starts top without an agent wants to know why at once, not on a drawn screen.
  if (const auto error = feed.update(model)) return context.fail(*error);
  std::string why_not;
  const ColorMode color = context.color ? ColorMode::automatic : ColorMode::never;
  const auto terminal = Terminal::open(color, why_not);
  if (!terminal) return context.fail(why_not);
  return run_live(context, model, feed, *terminal);
}

}  // namespace weir::cli
