// As quota.c, in C++.
//
//     quota-cpp NAME KEY [UNITS_PER_SECOND] >> taken
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "weir/quota.hpp"

using namespace std::chrono_literals;

namespace {
volatile sig_atomic_t stopped = 0;
void stop(int) { stopped = 1; }
}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s NAME KEY [UNITS_PER_SECOND]\n", argv[0]);
    return 2;
  }
  const std::string_view key = argv[2];
  const long per_s = argc > 3 ? std::atol(argv[3]) : 0;
  ::signal(SIGTERM, stop);
  weir::Client client = weir::Client::open();
  const auto quota = weir::Quota::get(client, argv[1]);
  if (!quota) {
    std::fprintf(stderr, "%s: %s\n", argv[0], quota.status().message());
    return 1;
  }
  weir::Status status;
  while (stopped == 0) {
    weir::QuotaPermit permit = quota->acquire(key, 1, 2000ms);
    status = permit.status();
    if (status == WEIR_E_UNAVAILABLE) continue;
    if (!permit) break;
    if (::write(1, "+", 1) != 1) return 1;
    permit.success();
    if (per_s > 1) std::this_thread::sleep_for(1'000'000us / per_s);
  }
  std::fprintf(stderr, "%s: %s\n", argv[0], stopped != 0 ? "stopped" : status.message());
}
