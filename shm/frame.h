// What travels over the attach socket: fixed frames of 64 bytes over SOCK_SEQPACKET. The agent's
// answer carries two descriptors (rules, counters). Identity is the kernel's word (SO_PEERCRED,
// pidfd), never a field of a frame. The open connection is the client's sign of life.
//
// A peer of another minor version ignores fields that it does not know; unknown frame types are
// ignored by the agent and counted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weir::shm {

inline constexpr std::uint32_t kFrameMagic = 0x52494557;  // "WEIR"
inline constexpr std::size_t kFrameBytes = 64;

enum class FrameType : std::uint16_t {
  hello = 1,     // client: attach me
  welcome = 2,   // agent: here are the segments
  refuse = 3,    // agent: no, and why
  doorbell = 4,  // client: a bucket ran dry while you did not look
  wait = 5,      // client: look at this waiter cell
  hold = 6,      // client: this process slot of the toolkit is mine (since 1.2)
  // Since 1.3; longer than others, see shm/quota_frame.h.
  quota_ask = 7,     // client: units of this key are wanted
  quota_report = 8,  // client: how the work went that units were taken for
};

enum class Refusal : std::uint32_t {
  none = 0,
  not_allowed = 1,  // the caller's uid and groups are not in the domain's list
  too_many = 2,     // the caller's uid holds as many connections as it may
  busy = 3,         // too many attaches a second, or no memory: try again later
  version = 4,      // another major version
  malformed = 5,
};

struct Frame {
  std::uint32_t magic = kFrameMagic;
  std::uint16_t type = 0;
  std::uint16_t bytes = kFrameBytes;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  // welcome: the first waiter cell and how many. wait: the cell. refuse: the Refusal. hold: the
  // process slot and its generation. doorbell, since 1.3: the limit's index, and 1.
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  // The sender's CLOCK_MONOTONIC is this much ahead of the host's (time namespaces).
  std::int64_t mono_offset_ns = 0;
  std::uint64_t agent_epoch = 0;
  // hello: a label for people (the program's name). Shown escaped, never trusted.
  std::array<char, 24> label{};
};
static_assert(sizeof(Frame) == kFrameBytes);
static_assert(offsetof(Frame, mono_offset_ns) == 24);
static_assert(offsetof(Frame, label) == 40);

inline Frame make_frame(FrameType type, std::uint32_t major, std::uint32_t minor) noexcept {
  Frame frame;
  frame.type = static_cast<std::uint16_t>(type);
  frame.major = major;
  frame.minor = minor;
  return frame;
}

// Whether `bytes` received bytes are a frame at all.
inline bool frame_ok(const Frame& frame, std::size_t bytes) noexcept {
  return bytes == kFrameBytes && frame.magic == kFrameMagic && frame.bytes == kFrameBytes;
}

}  // namespace weir::shm
