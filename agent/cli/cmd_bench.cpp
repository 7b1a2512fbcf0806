// weir bench: what a decision costs here, against the bare atomic that it is made of.
#include <weir/weir.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <ostream>
#include <thread>

#include "agent/cli/client_ptr.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/table.h"

namespace weir::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBatchCalls = 1000;  // between two looks at the clock
constexpr std::uint32_t kThreadsMax = 64;
constexpr std::uint64_t kNeverDryBurst = 1ULL << 39;

struct Row {
  std::string operation;
  std::uint32_t threads = 1;
  double ns_per_call = 0;  // of a thread
  double bare_ns = 0;      // of fetch_sub with as many threads
  std::uint64_t calls = 0;
  std::uint64_t admitted = 0;
};

// Runs `call` (true: admitted) in `threads` threads for a while.
template <class Call>
Row measure(std::string operation, std::uint32_t threads, Clock::duration time, Call call) {
  struct alignas(128) Sum {
    std::uint64_t calls = 0;
    std::uint64_t admitted = 0;
    double ns = 0;
  };
  std::vector<Sum> sums(threads);
  std::atomic<bool> go{false};
  const auto work = [&](Sum& sum) {
    while (!go.load(std::memory_order_acquire))
      std::this_thread::yield();
    Sum mine;
    const Clock::time_point begin = Clock::now();
    Clock::time_point now = begin;
    for (const Clock::time_point end = begin + time; now < end; now = Clock::now()) {
      for (std::uint64_t i = 0; i < kBatchCalls; ++i)
        mine.admitted += call() ? 1 : 0;
      mine.calls += kBatchCalls;
    }
    mine.ns = std::chrono::duration<double, std::nano>(now - begin).count();
    sum = mine;
  };
  std::vector<std::thread> others;
  for (std::uint32_t i = 1; i < threads; ++i)
    others.emplace_back(work, std::ref(sums[i]));
  go.store(true, std::memory_order_release);
  work(sums[0]);
  for (std::thread& other : others)
    other.join();
  Row row{std::move(operation), threads};
  double ns = 0;
  for (const Sum& sum : sums) {
    row.calls += sum.calls;
    row.admitted += sum.admitted;
    ns += sum.ns;
  }
  row.ns_per_call = ns / static_cast<double>(std::max<std::uint64_t>(row.calls, 1));
  return row;
}

weir_limit* private_limit(weir_client* client, const char* name, std::uint64_t burst,
                          std::uint64_t amount, std::uint64_t period_ns) {
  weir_limit_options options{};
  options.struct_bytes = sizeof(options);
  options.mode = WEIR_MODE_LOCAL;
  options.amount = amount;
  options.period_ns = period_ns;
  options.burst = burst;
  weir_limit* limit = nullptr;
  return weir_limit_get(client, name, &options, &limit) == WEIR_OK ? limit : nullptr;
}

struct Subjects {
  weir_limit* full = nullptr;    // admits every call
  weir_limit* dry = nullptr;     // refuses every call
  weir_limit* shared = nullptr;  // the agent's, if one was named
};

std::vector<Row> measure_all(const Subjects& subjects, std::uint32_t threads, double seconds) {
  std::vector<std::uint32_t> counts{1};
  if (threads > 1) counts.push_back(threads);
  const std::size_t operations = subjects.shared != nullptr ? 4 : 3;
  const auto each = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(seconds / static_cast<double>(operations * counts.size())));
  std::vector<Row> rows;
  alignas(128) std::atomic<std::int64_t> word{0};
  const auto take = [](weir_limit* limit) {
    return [limit] { return weir_try_acquire(limit, 1) == WEIR_ALLOW; };
  };
  for (const std::uint32_t count : counts) {
    word = INT64_MAX;
    rows.push_back(measure("bare fetch_sub", count, each,
                           [&word] { return word.fetch_sub(1, std::memory_order_relaxed) > 0; }));
    const double bare_ns = rows.back().ns_per_call;
    rows.push_back(measure("admitted", count, each, take(subjects.full)));
    rows.push_back(measure("refused", count, each, take(subjects.dry)));
    if (subjects.shared != nullptr)
      rows.push_back(measure("named limit", count, each, take(subjects.shared)));
    for (Row& row : rows)
      if (row.threads == count) row.bare_ns = bare_ns;
  }
  return rows;
}

void print_rows(const Context& context, const std::vector<Row>& rows) {
  if (context.json()) {
    Json array = Json::array();
    for (const Row& row : rows) {
      array.push_back({{"operation", row.operation},
                       {"threads", row.threads},
                       {"ns_per_call", row.ns_per_call},
                       {"ratio_to_fetch_sub", row.ns_per_call / row.bare_ns},
                       {"calls", row.calls},
                       {"admitted", row.admitted}});
    }
    print_json(context, {{"indicative", true}, {"rows", std::move(array)}});
    return;
  }
  Table table{{{"OPERATION"},
               {"THREADS", Align::right},
               {"NS/CALL", Align::right},
               {"CALLS/S", Align::right},
               {"ADMITTED", Align::right},
               {"x FETCH_SUB", Align::right}}};
  for (const Row& row : rows) {
    const double per_s = row.ns_per_call > 0 ? 1e9 / row.ns_per_call * row.threads : 0;
    const double share = 1000.0 * static_cast<double>(row.admitted) /
                         static_cast<double>(std::max<std::uint64_t>(row.calls, 1));
    table.add({row.operation, std::to_string(row.threads), format_per_s(row.ns_per_call),
               format_per_s(per_s), format_permille(static_cast<std::uint32_t>(share)),
               format_per_s(row.ns_per_call / row.bare_ns)});
  }
  table.print(context);
  context.out
      << "\nIndicative: a few seconds on a machine that does other things, too. Compare the "
         "ratios,\nnot the nanoseconds; NS/CALL is the time of one thread.\n";
}

}  // namespace

int cmd_bench(const Context& context, const BenchOptions& options) {
  weir_options open_options{};
  open_options.struct_bytes = sizeof(open_options);
  open_options.socket_path = context.paths.attach_socket.c_str();
  open_options.require_agent = options.name.empty() ? 0 : 1;
  open_options.label = "weir bench";
  weir_client* opened = nullptr;
  if (const weir_status status = weir_open(&open_options, &opened); status != WEIR_OK)
    return context.fail(context.paths.attach_socket + ": " + weir_strerror(status),
                        status == WEIR_E_NO_AGENT ? kExitNoAgent : kExitFailure);
  const ClientPtr client{opened};
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  Subjects subjects;
  // Names that no rules file has, so that the buckets stay private to this process.
  subjects.full = private_limit(client.get(), "weir bench: never dry", kNeverDryBurst,
                                1'000'000'000, kSecondNs);
  subjects.dry = private_limit(client.get(), "weir bench: always dry", 1, 1, 86'400 * kSecondNs);
  if (subjects.full == nullptr || subjects.dry == nullptr)
    return context.fail("libweir gave no private bucket to measure: out of memory?");
  while (weir_try_acquire(subjects.dry, 1) == WEIR_ALLOW) {
  }
  if (!options.name.empty()) {
    weir_limit_info info{};
    info.struct_bytes = sizeof(info);
    if (weir_limit_get(client.get(), options.name.c_str(), nullptr, &subjects.shared) != WEIR_OK ||
        weir_limit_read(subjects.shared, &info) != WEIR_OK || info.shared == 0)
      return context.fail("the agent has no limit '" + options.name + "'; `weir list` names them");
    context.err << "weir: this takes real tokens of '" << context.escaped(options.name) << "'\n";
  }
  std::uint32_t threads = options.threads;
  if (threads == 0) threads = std::min(4U, std::max(1U, std::thread::hardware_concurrency()));
  print_rows(context, measure_all(subjects, std::min(threads, kThreadsMax), options.seconds));
  return kExitOk;
}

}  // namespace weir::cli
