// weir.hpp in a program built without exceptions and run-time type information.
#include <chrono>
#include <cstdio>

#include "weir/weir.hpp"

static_assert(!WEIR_HAS_EXCEPTIONS);

int main() {
  using namespace std::chrono_literals;
  weir::Result<weir::Client> client = weir::Client::try_open({.socket_path = "/proc/none.sock"});
  if (!client) return std::puts(client.status().message()), 1;
  const weir::Result<weir::Limit> limit = client->try_limit("one", weir::local(1, 1h));
  if (!limit) return std::puts(limit.status().message()), 1;
  if (client->try_limit("").status() != weir::Status(WEIR_E_INVALID)) return 1;
  if (!limit->admit()) return std::puts("the first token is refused"), 1;
  if (limit->try_acquire()) return std::puts("a second token came from nowhere"), 1;
  return limit->acquire(1, 1ms).ok ? 1 : 0;
}
