// A bad network between two good ones, for tests: delays, drops, doubles and reorders whole
// messages and cuts connections, the same way for the same seed.
//
//     WEIR_NET_FAULTS=delay=5ms..20ms,drop=0.01,double=0.02,reorder=0.05,cut=0.001,seed=7
//
// `in.drop=0.1` or `out.drop=0.1` mean one direction, as seen by the process that reads the
// variable; without it, both.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/result.h"

namespace weir::net {

// Chances are of each message, from 0 to 1.
struct FaultRates {
  std::chrono::microseconds delay_min{0};
  std::chrono::microseconds delay_max{0};
  double drop = 0;
  double twice = 0;
  double reorder = 0;  // the message goes after the next one
  double cut = 0;      // the connection ends in place of the message

  bool any() const noexcept;
  bool operator==(const FaultRates&) const = default;
};

struct FaultOptions {
  FaultRates in;
  FaultRates out;
  std::uint64_t seed = 1;

  bool any() const noexcept { return in.any() || out.any(); }
  bool operator==(const FaultOptions&) const = default;
};

Result<FaultOptions> parse_faults(std::string_view text);

// WEIR_NET_FAULTS, in builds with failpoints alone; elsewhere nothing. A text that cannot be read
// ends the process: a test that believes in faults it does not have is worse.
const FaultOptions& faults_from_environment();

struct FaultVerdict {
  bool cut = false;
  bool drop = false;
  bool twice = false;
  bool reorder = false;
  std::int64_t delay_ns = 0;

  bool operator==(const FaultVerdict&) const = default;
};

// What happens to each message in turn. Every verdict takes the same draws, so that one chance can
// be changed without moving the others.
class FaultPlan {
 public:
  FaultPlan(const FaultRates& rates, std::uint64_t seed) noexcept : rates_(rates), state_(seed) {}
  FaultVerdict next() noexcept;

 private:
  std::uint64_t draw() noexcept;
  bool chance(double share) noexcept;

  FaultRates rates_;
  std::uint64_t state_;
};

// One direction of one connection. Pure: the caller brings the time and takes what is due. A delay
// alone does not reorder: what was sent first comes out first.
class FaultSeam {
 public:
  FaultSeam(const FaultRates& rates, std::uint64_t seed) noexcept : plan_(rates, seed) {}

  void push(std::string_view message, std::int64_t now_ns);
  // The next message that is due; nothing after a cut.
  std::optional<std::string> pop(std::int64_t now_ns);
  // When the next one is due, if one waits.
  std::optional<std::int64_t> due_ns() const noexcept;
  // Whether the connection is to end now. What was pushed before the cut comes out first.
  bool cut(std::int64_t now_ns) const noexcept;

 private:
  struct Held {
    std::string message;
    std::int64_t due_ns = 0;
    bool cut = false;
  };
  void place(std::string message, std::int64_t due_ns, bool cut);

  FaultPlan plan_;
  std::deque<Held> held_;
  // Waits for the message that overtakes it, but not for ever.
  std::optional<Held> overtaken_;
};

}  // namespace weir::net
