// Single calls of the C ABI against a running agent, back to back in one thread.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>

#include "bench/host.h"
#include "bench/micro.h"

namespace weir::bench {

namespace {

// A loop over one call; the call's own arguments are bound in `call`.
template <class Call>
void add(const char* name, const Call& call) {
  benchmark::RegisterBenchmark(name, [call](benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
      auto answer = call();
      benchmark::DoNotOptimize(answer);
    }
  });
}

weir_limit* limit_of(weir_client* client, const char* name) {
  weir_limit* limit = nullptr;
  return weir_limit_get(client, name, nullptr, &limit) == WEIR_OK ? limit : nullptr;
}

}  // namespace

bool register_client_benchmarks(const std::string& socket_path) {
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = socket_path.c_str();
  options.require_agent = 1;
  options.connect_timeout_ms = 2000;
  weir_client* client = nullptr;  // lives as long as the process
  if (const weir_status status = weir_open(&options, &client); status != WEIR_OK) {
    std::fprintf(stderr, "weir_bench: weir_open: %s\n", weir_strerror(status));
    return false;
  }
  weir_limit* admit = limit_of(client, admit_limit(0).c_str());
  weir_limit* striped = limit_of(client, kStripedLimit);
  weir_limit* reserve = limit_of(client, kReserveLimit);
  weir_limit* refuse = limit_of(client, kRefuseLimit);
  if (admit == nullptr || striped == nullptr || reserve == nullptr || refuse == nullptr)
    return false;
  (void)weir_try_acquire(refuse, 1);  // its one token of the day

  add("call_alone", [] { return weir_version(); });
  add("try_acquire/admit", [=] { return weir_try_acquire(admit, 1); });
  add("try_acquire/admit_n8", [=] { return weir_try_acquire(admit, 8); });
  add("try_acquire/striped", [=] { return weir_try_acquire(striped, 1); });
  add("try_acquire/striped_n8", [=] { return weir_try_acquire(striped, 8); });
  add("try_acquire/refuse", [=] { return weir_try_acquire(refuse, 1); });
  add("try_acquire/refuse_n8", [=] { return weir_try_acquire(refuse, 8); });
  add("try_acquire_class/reserve",
      [=] { return weir_try_acquire_class(reserve, 1, WEIR_SHEDDABLE); });
  add("try_acquire_class/no_reserve",
      [=] { return weir_try_acquire_class(admit, 1, WEIR_CRITICAL); });
  add("acquire/admit", [=] { return weir_acquire(admit, 1, 0, nullptr); });
  add("acquire/refuse", [=] { return weir_acquire(refuse, 1, 0, nullptr); });
  add("refund", [=] { return weir_refund(admit, 1); });
  add("peek", [=] {
    std::uint64_t tokens = 0;
    (void)weir_peek(admit, &tokens);
    return tokens;
  });
  add("peek/striped", [=] {
    std::uint64_t tokens = 0;
    (void)weir_peek(striped, &tokens);
    return tokens;
  });
  add("retry_after/admit", [=] {
    std::uint64_t wait_ns = 0;
    (void)weir_retry_after(admit, 1, &wait_ns);
    return wait_ns;
  });
  add("retry_after/refuse", [=] {
    std::uint64_t wait_ns = 0;
    (void)weir_retry_after(refuse, 1, &wait_ns);
    return wait_ns;
  });
  return true;
}

}  // namespace weir::bench
