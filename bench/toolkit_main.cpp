// weir_toolkit_bench: what the toolkit's calls cost through the C ABI, each measured in slices of a
// fraction of a millisecond that alternate with slices of a floor, so that whatever disturbs the
// machine disturbs both. The figure of a row is the median of its slices, that of a ratio the
// median of the ratios of neighbours.
//
//   weir_toolkit_bench [--rounds N] [--json FILE]
//
// The agent is a stand-in: segments with the words that each row needs, and a heartbeat.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "adaptive/breaker.h"
#include "adaptive/shed_word.h"
#include "tests/unit/client/toolkit_host.h"

namespace weir::bench {
namespace {

constexpr std::uint64_t kCalls = 20'000;  // of a slice

std::int64_t cpu_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

template <class Call>
double slice(const Call& call) {
  const std::int64_t begun = cpu_ns();
  for (std::uint64_t i = 0; i < kCalls; ++i)
    call();
  return static_cast<double>(cpu_ns() - begun) / static_cast<double>(kCalls);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

struct Row {
  const char* name;
  const char* floor;
  const char* bar_of;  // "ratio" or "ns"
  double bar;
  double ns = 0, floor_ns = 0, ratio = 0;
  bool reached() const { return bar == 0 || (bar_of[0] == 'r' ? ratio : ns) <= bar; }
};

template <class Call, class Floor>
void measure(Row& row, int rounds, const Call& call, const Floor& floor) {
  std::vector<double> calls, floors, ratios;
  for (int i = -5; i < rounds; ++i) {
    const double under = slice(floor);
    const double own = slice(call);
    if (i < 0) continue;
    calls.push_back(own);
    floors.push_back(under);
    ratios.push_back(own / under);
  }
  row.ns = median(calls);
  row.floor_ns = median(floors);
  row.ratio = median(ratios);
}

alignas(128) std::atomic<std::int64_t> bare_total{0};
alignas(128) std::atomic<std::int64_t> bare_own{0};

// One process that enters and leaves, against the two additions that no count can do without.
void two_bare_additions() {
  bare_total.fetch_add(1);
  bare_own.fetch_add(1);
}
void one_call() { (void)weir_version(); }

weir_resource* resource(weir_client* client, const char* name) {
  weir_resource* found = nullptr;
  if (weir_resource_get(client, name, &found) != WEIR_OK) std::abort();
  return found;
}

bool right(bool expected, const char* what) {
  if (!expected) std::fprintf(stderr, "weir_toolkit_bench: %s did not answer as it should\n", what);
  return expected;
}

std::vector<Row> run(int rounds) {
  test::ToolkitHost host;
  host.rule(0).concurrency.store(1000);
  host.publish(0, "enter", shm::kToolConcurrency);
  host.rule(1).shed_limits.store(adaptive::fixed_words(0).limits);
  host.rule(1).shed_limits.store(adaptive::pack_classes({1, 1, 1, 1}));
  host.publish(1, "shed", shm::kToolShed);
  host.view().counter(2).breaker.store(
      adaptive::breaker_force(0, adaptive::BreakerState::forced_open, 0));
  host.publish(2, "forced", shm::kToolBreaker);
  const std::int64_t hour = 3'600'000'000'000;
  host.rule(3).breaker_open_ns.store(static_cast<std::uint64_t>(hour));
  host.rule(3).breaker_open_max_ns.store(static_cast<std::uint64_t>(hour));
  host.view().counter(3).breaker.store(adaptive::breaker_trip(
      0, 0, shm::read_mono_ns(), 0.5, {.open_ns = hour, .open_max_ns = hour}));
  host.publish(3, "open", shm::kToolBreaker);
  host.publish(4, "calm", shm::kToolShed | shm::kToolBreaker | shm::kToolConcurrency);
  host.rule(4).concurrency.store(1000);
  weir_client* client = host.client();
  if (client == nullptr) std::abort();
  weir_resource* enter = resource(client, "enter");
  weir_resource* shed = resource(client, "shed");
  weir_resource* forced = resource(client, "forced");
  weir_resource* open = resource(client, "open");
  weir_resource* calm = resource(client, "calm");
  weir_entry entry{};
  weir_call call{};
  weir_guard guard{};
  weir_guard_options ask{};
  ask.struct_bytes = sizeof(ask);
  ask.resource = calm;
  ask.priority_class = WEIR_CRITICAL;
  if (!right(weir_enter(enter, WEIR_CRITICAL, &entry) == WEIR_ALLOW && host.total(0) == 1,
             "weir_enter") ||
      !right(weir_leave(&entry) == WEIR_OK && host.total(0) == 0, "weir_leave") ||
      !right(weir_shed(shed, WEIR_CRITICAL) == WEIR_DENY_SHED, "weir_shed") ||
      !right(weir_call_begin(forced, &call, nullptr) == WEIR_DENY_OPEN, "a forced breaker") ||
      !right(weir_call_begin(open, &call, nullptr) == WEIR_DENY_OPEN, "an open breaker") ||
      !right(weir_shed(calm, WEIR_CRITICAL) == WEIR_ALLOW, "weir_shed without need"))
    return {};

  std::vector<Row> rows{
      {"enter_leave", "two bare fetch_add", "ratio", 2.5},
      {"shed_refuse", "a call alone", "ns", 10},
      {"breaker_open_refuse", "a call alone", "ns", 10},
      {"breaker_forced_refuse", "a call alone", "ns", 10},
      {"shed_admit", "a call alone", "ns", 0},
      {"call_begin_end", "a call alone", "ns", 0},
      {"guard", "two bare fetch_add", "ratio", 0},
  };
  measure(
      rows[0], rounds,
      [&] {
        (void)weir_enter(enter, WEIR_CRITICAL, &entry);
        (void)weir_leave(&entry);
      },
      two_bare_additions);
  measure(
      rows[1], rounds, [&] { (void)weir_shed(shed, WEIR_CRITICAL); }, one_call);
  measure(
      rows[2], rounds, [&] { (void)weir_call_begin(open, &call, nullptr); }, one_call);
  measure(
      rows[3], rounds, [&] { (void)weir_call_begin(forced, &call, nullptr); }, one_call);
  measure(
      rows[4], rounds, [&] { (void)weir_shed(calm, WEIR_CRITICAL); }, one_call);
  measure(
      rows[5], rounds,
      [&] {
        (void)weir_call_begin(calm, &call, nullptr);
        (void)weir_call_end(&call, WEIR_DONE_OK);
      },
      one_call);
  measure(
      rows[6], rounds,
      [&] {
        (void)weir_guard_begin(&ask, &guard);
        (void)weir_guard_end(&guard, WEIR_DONE_OK);
      },
      two_bare_additions);
  if (!right(host.total(0) == 0 && host.total(4) == 0, "the count afterwards")) return {};
  weir_close(client);
  return rows;
}

void write_json(const std::vector<Row>& rows, const char* path) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) return;
  std::fprintf(file, "[");
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::fprintf(file,
                 "%s\n  {\"name\": \"%s\", \"ns\": %.2f, \"floor\": \"%s\", \"floor_ns\": %.2f, "
                 "\"ratio\": %.3f, \"bar\": %.1f, \"bar_of\": \"%s\", \"reached\": %s}",
                 i == 0 ? "" : ",", rows[i].name, rows[i].ns, rows[i].floor, rows[i].floor_ns,
                 rows[i].ratio, rows[i].bar, rows[i].bar_of, rows[i].reached() ? "true" : "false");
  std::fprintf(file, "\n]\n");
  std::fclose(file);
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
  int rounds = 301;
  const char* json = nullptr;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--rounds") rounds = std::max(11, std::atoi(argv[i + 1]));
    if (std::string(argv[i]) == "--json") json = argv[i + 1];
  }
  const std::vector<weir::bench::Row> rows = weir::bench::run(rounds);
  if (rows.empty()) return 1;
  std::printf("%-22s %8s %-20s %8s %6s\n", "row", "ns", "floor", "ns", "ratio");
  bool all = true;
  for (const weir::bench::Row& row : rows) {
    std::printf("%-22s %8.2f %-20s %8.2f %6.2f", row.name, row.ns, row.floor, row.floor_ns,
                row.ratio);
    if (row.bar != 0)
      std::printf("   %s <= %.1f: %s", row.bar_of, row.bar, row.reached() ? "reached" : "MISSED");
    std::printf("\n");
    all = all && row.reached();
  }
  if (json != nullptr) weir::bench::write_json(rows, json);
  return all ? 0 : 2;
}
