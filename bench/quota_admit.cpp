// A warm key of a quota beside a plain limit: one process, both in slices that take turns.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "bench/host.h"
#include "bench/lease_bench.h"
#include "bench/server_process.h"
#include "weir/quota.h"
#include "weir/weir.h"

namespace weir::bench {
namespace {

constexpr std::uint64_t kCalls = 200'000;  // of a slice
constexpr const char* kKey = "customer-4711";
constexpr std::size_t kMixedKeys = 64;

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double quantile_of(std::vector<double> values, double which) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(which * static_cast<double>(values.size() - 1))];
}

class Directory {
 public:
  Directory() { made_ = ::mkdtemp(path_.data()) != nullptr; }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  bool made() const { return made_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/weir-quota-bench-XXXXXX";
  bool made_ = false;
};

// Nanoseconds a call; 0 when one was refused.
template <class Call>
double slice(Call&& call) {
  const std::int64_t start = now_ns();
  std::uint64_t allowed = 0;
  for (std::uint64_t i = 0; i < kCalls; ++i)
    allowed += call() == WEIR_ALLOW ? 1 : 0;
  const std::int64_t took = now_ns() - start;
  return allowed == kCalls ? static_cast<double>(took) / static_cast<double>(kCalls) : 0;
}

LeaseRow row_of(const std::vector<double>& costs, const std::vector<double>& floors,
                const char* note) {
  LeaseRow row;
  row.name = "quota_admit/1p";
  row.floor = "weir_try_acquire";
  std::vector<double> ratios;
  for (std::size_t i = 0; i < costs.size(); ++i)
    ratios.push_back(costs[i] / floors[i]);
  row.ns_median = quantile_of(costs, 0.5);
  row.floor_ns_median = quantile_of(floors, 0.5);
  row.ratio = quantile_of(ratios, 0.5);
  row.ratio_p10 = quantile_of(ratios, 0.1);
  row.ratio_p90 = quantile_of(ratios, 0.9);
  row.bar = 3.0;
  row.more_is_better = false;
  row.note = note;
  return row;
}

}  // namespace

std::vector<LeaseRow> measure_quota_admit(bool quick) {
  const Directory directory;
  const auto fail = [](const std::string& why) {
    std::fprintf(stderr, "bench: %s\n", why.c_str());
    return std::vector<LeaseRow>{};
  };
  if (!directory.made()) return fail("no directory in /tmp");
  const ServerProcess server(directory.path(),
                             "      - {name: calls, total: 900000000000000, keys: any, chunk: "
                             "{min: 1000000000, max: 1000000000}}\n");
  AgentProcess agent;
  const std::string rules = "version: 1\nserver: 127.0.0.1:" + std::to_string(server.port()) +
                            "\ncluster: {namespace: bench, host: bench}\n"
                            "limits: [{name: bench/plain, rate: 1000M/s, burst: 1000M}]\n";
  if (!agent.start(default_agent_path(), rules)) return fail(agent.error());
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = agent.socket_path().c_str();
  options.require_agent = 1;
  options.connect_timeout_ms = 5'000;
  weir_client* client = nullptr;
  weir_limit* limit = nullptr;
  weir_quota* quota = nullptr;
  if (weir_open(&options, &client) != WEIR_OK ||
      weir_limit_get(client, "bench/plain", nullptr, &limit) != WEIR_OK ||
      weir_quota_get(client, "calls", &quota) != WEIR_OK)
    return fail("the agent cannot be used");
  const std::size_t key_bytes = std::strlen(kKey);
  if (weir_quota_acquire(quota, kKey, key_bytes, 1, 20'000, nullptr) != WEIR_ALLOW)
    return fail("no units came from the server");

  std::vector<std::string> keys;
  for (std::size_t i = 0; i < kMixedKeys; ++i) {
    keys.push_back("customer-" + std::to_string(1'000 + i));
    if (weir_quota_acquire(quota, keys[i].data(), keys[i].size(), 1, 20'000, nullptr) != WEIR_ALLOW)
      return fail("no units came from the server");
  }
  std::minstd_rand draw(1);
  std::vector<std::uint8_t> order(kCalls);
  for (std::uint8_t& next : order)
    next = static_cast<std::uint8_t>(draw() % kMixedKeys);

  std::vector<double> plain, bare, permitted, mixed;
  weir_quota_permit permit;
  const int rounds = quick ? 31 : 151;
  for (int i = 0; i < rounds; ++i) {
    const double a = slice([&] { return weir_try_acquire(limit, 1); });
    const double b = slice([&] { return weir_quota_try(quota, kKey, key_bytes, 1, nullptr); });
    const double c = slice([&] { return weir_quota_try(quota, kKey, key_bytes, 1, &permit); });
    std::size_t at = 0;
    const double d = slice([&] {
      const std::string& key = keys[order[at++]];
      return weir_quota_try(quota, key.data(), key.size(), 1, nullptr);
    });
    // The first units of a chunk are asked for while the last ones are taken.
    if (a == 0 || b == 0 || c == 0 || d == 0) continue;
    plain.push_back(a);
    bare.push_back(b);
    permitted.push_back(c);
    mixed.push_back(d);
  }
  weir_close(client);
  if (plain.size() < static_cast<std::size_t>(rounds) / 2)
    return fail("too many calls were refused");
  char note[160];
  std::snprintf(
      note, sizeof(note),
      "a key of %zu bytes; with a permit for its outcome %.1f ns; %zu keys in random order "
      "%.1f ns",
      key_bytes, quantile_of(permitted, 0.5), kMixedKeys, quantile_of(mixed, 0.5));
  return {row_of(bare, plain, note)};
}

}  // namespace weir::bench
