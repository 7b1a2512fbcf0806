// load.cpp: the same as load.c, in C++20 with weir/weir.hpp.
//
//   load-cpp [LIMIT [SECONDS [CALLS_PER_SECOND]]]      defaults: /api/order 5 2000
//
// Build it alone:  c++ -std=c++20 load.cpp -o load-cpp $(pkg-config --cflags --libs weir)
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <weir/weir.hpp>

namespace {

// CLOCK_MONOTONIC with libstdc++ and libc++ on Linux.
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

std::int64_t mono_ns(Clock::time_point at) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
}

int run(const char* name, Seconds length, double calls_per_second) {
  // A load test without an agent tests nothing; a service leaves require_agent alone.
  weir::Client client = weir::Client::open({.require_agent = true});
  // Until an agent knows the name: at most 100 a second, by this process alone.
  const weir::Limit limit = client.limit(name, weir::local(100));
  if (!limit.info().shared) {
    std::fprintf(stderr, "load-cpp: the agent has no limit '%s'; `weir list` names them\n", name);
    return 1;
  }

  const auto pause = std::chrono::duration_cast<Clock::duration>(Seconds(1 / calls_per_second));
  std::uint64_t admitted = 0, refused = 0;
  const Clock::time_point begin = Clock::now();
  const Clock::time_point stop = begin + std::chrono::duration_cast<Clock::duration>(length);
  Clock::time_point next = begin, now = begin;
  while (now < stop) {
    if (limit.try_acquire())
      ++admitted;
    else
      ++refused;
    next += pause;
    now = Clock::now();
    if (next < now)
      next = now;  // held up: go on from here, with no burst to catch up
    else
      std::this_thread::sleep_until(next);
    now = Clock::now();
  }
  std::printf("asked=%llu admitted=%llu refused=%llu begin_ns=%lld end_ns=%lld\n",
              static_cast<unsigned long long>(admitted + refused),
              static_cast<unsigned long long>(admitted), static_cast<unsigned long long>(refused),
              static_cast<long long>(mono_ns(begin)), static_cast<long long>(mono_ns(now)));
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  const char* name = argc > 1 ? argv[1] : "/api/order";
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  const double calls_per_second = argc > 3 ? std::atof(argv[3]) : 2000;
  if (argc > 4 || !(seconds > 0) || !(calls_per_second > 0)) {
    std::fputs("usage: load-cpp [LIMIT [SECONDS [CALLS_PER_SECOND]]]\n", stderr);
    return 2;
  }
  return run(name, Seconds(seconds), calls_per_second);
} catch (const weir::Error& error) {
  std::fprintf(stderr, "load-cpp: %s\n", error.what());
  return 1;
}
