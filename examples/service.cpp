// service.cpp: the same as service.c, in C++20 with weir/toolkit.hpp.
//
//   service-cpp [RESOURCE [SECONDS]]      defaults: orders 5
//
// Build it alone:  c++ -std=c++20 service.cpp -o service-cpp $(pkg-config --cflags --libs weir)
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <weir/toolkit.hpp>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// The work: here it takes a millisecond, and every tenth fails.
bool call_the_database(unsigned n) {
  std::this_thread::sleep_for(1ms);
  return n % 10 != 0;
}

// The answer as an HTTP status.
int handle(weir_resource* orders, weir_resource* tenant, unsigned n) {
  // What the caller asked for, the default and the most as the agent's rules say.
  const weir::Deadline deadline = weir::Deadline::of(orders, 250'000'000);
  weir::Guard guard({.resource = orders,
                     .priority_class = n % 4 == 0 ? WEIR_SHEDDABLE : WEIR_CRITICAL,
                     .deadline_mono_ns = deadline.at_mono_ns(),
                     .expected_ns = 1'000'000,
                     .tenant = tenant});
  if (!guard) return guard.status().code() == WEIR_DENY_DEADLINE ? 504 : 503;
  if (!call_the_database(n)) {
    guard.failed();
    return 500;
  }
  guard.succeeded();
  return 200;
}

int run(const char* name, double seconds) {
  weir::Client client = weir::Client::open({});
  weir_resource* orders = nullptr;
  weir_resource* gold = nullptr;
  const std::string part = std::string(name) + "/gold";
  if (weir_resource_get(client.native_handle(), name, &orders) != WEIR_OK ||
      weir_resource_get(client.native_handle(), part.c_str(), &gold) != WEIR_OK)
    return 1;
  unsigned n = 0, answered = 0, failed = 0, refused = 0;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (; Clock::now() < end; ++n) {
    const int status = handle(orders, n % 2 == 0 ? gold : nullptr, n);
    ++(status == 200 ? answered : status == 500 ? failed : refused);
    if (status > 500) std::this_thread::sleep_for(1ms);
  }
  std::printf("asked=%u answered=%u failed=%u refused=%u\n", n, answered, failed, refused);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  return run(argc > 1 ? argv[1] : "orders", argc > 2 ? std::atof(argv[2]) : 5);
} catch (const weir::Error& error) {
  std::fprintf(stderr, "service-cpp: %s\n", error.what());
  return 1;
}
