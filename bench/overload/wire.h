// What the generator and a server process say to each other: one packet a message, on a Unix
// socket of the kind that keeps packets apart. Both ends are this program.
#pragma once

#include <cstdint>

namespace weir::bench {

struct Request {
  std::uint64_t id = 0;
  std::int64_t intended_mono_ns = 0;  // when it should have been sent
  std::uint32_t work_ns = 0;          // of the CPU
  std::uint32_t criticality = 0;
};

enum class Reply : std::uint32_t { done = 0, refused = 1 };

struct Answer {
  std::uint64_t id = 0;
  Reply reply = Reply::done;
  std::uint32_t reserved = 0;
};

}  // namespace weir::bench
