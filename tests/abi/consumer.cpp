// A C++20 program that is linked with libweir, without an agent.
#include <chrono>
#include <weir/weir.hpp>

int main() {
  using namespace std::chrono_literals;
  weir::Client client = weir::Client::open({.socket_path = "/proc/weir-no-agent.sock"});
  const weir::Limit limit = client.limit("one", weir::local(1, 1000h));
  return limit.try_acquire() && !limit.try_acquire() ? 0 : 1;
}
