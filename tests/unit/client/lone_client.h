// A client with no agent to find, and limits of it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "weir/weir.h"

namespace weir::client_test {

// A path at which nobody can ever listen.
inline constexpr char kNoSocket[] = "/proc/weir-no-agent.sock";
inline constexpr std::uint64_t kHourNs = 3'600'000'000'000;

class LoneClient {
 public:
  LoneClient() {
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = kNoSocket;
    EXPECT_EQ(weir_open(&options, &client_), WEIR_OK);
  }
  ~LoneClient() { weir_close(client_); }
  LoneClient(const LoneClient&) = delete;
  LoneClient& operator=(const LoneClient&) = delete;

  weir_client* get() const { return client_; }
  weir_limit* limit(const char* name, const weir_limit_options* options = nullptr) const {
    weir_limit* limit = nullptr;
    EXPECT_EQ(weir_limit_get(client_, name, options, &limit), WEIR_OK) << name;
    return limit;
  }
  // `burst` tokens now and one more in a time that no test lives to see.
  weir_limit* slow(const char* name, std::uint64_t burst) const {
    return local(name, 1, 1000 * kHourNs, burst);
  }
  weir_limit* local(const char* name, std::uint64_t amount, std::uint64_t period_ns,
                    std::uint64_t burst) const {
    weir_limit_options options{};
    options.struct_bytes = sizeof(options);
    options.mode = WEIR_MODE_LOCAL;
    options.amount = amount;
    options.period_ns = period_ns;
    options.burst = burst;
    return limit(name, &options);
  }
  weir_limit* in_mode(const char* name, std::int32_t mode) const {
    weir_limit_options options{};
    options.struct_bytes = sizeof(options);
    options.mode = mode;
    return limit(name, &options);
  }

 private:
  weir_client* client_ = nullptr;
};

}  // namespace weir::client_test
