// Making, sealing, checking and mapping segments. The one place that knows Boost.Interprocess.
#pragma once

#include <cstddef>
#include <span>

#include "shm/fd.h"
#include "shm/result.h"

namespace weir::shm {

// A mapping that is undone with its owner. It lives in place and allocates nothing, so that a
// client can move to a new segment from wherever it happens to be called.
class Mapping {
 public:
  Mapping() noexcept = default;
  Mapping(Mapping&& other) noexcept { take(other); }
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping() { unmap(); }

  std::byte* data() const noexcept { return base_; }
  std::size_t size() const noexcept { return bytes_; }
  std::span<const std::byte> bytes() const noexcept { return {base_, bytes_}; }
  void unmap() noexcept;
  // Puts private zero pages in the mapping's place and forgets it: some thread may still be about
  // to look at it.
  void retire() noexcept;

 private:
  friend Result<Mapping> map_segment(int fd, std::size_t bytes, bool writable) noexcept;
  void take(Mapping& other) noexcept;

  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
  alignas(std::max_align_t) std::byte region_[64];  // a mapped_region while base_ is set
};

Result<Mapping> map_segment(int fd, std::size_t bytes, bool writable) noexcept;

enum class SegmentKind { rules, counters, ledger };

// A new zeroed memfd of `bytes`, with its memory reserved now, so that no later touch can fail:
// a full tmpfs or memory cgroup is an error here instead of SIGBUS in somebody's request.
Result<Fd> make_segment(const char* name, std::size_t bytes) noexcept;

// Seals a segment after its maker mapped it. Rules: nobody, root and the maker included, can map
// it writable again. Counters: nobody can shrink it under us. The seals themselves are final.
Result<int> seal_segment(int fd, SegmentKind kind) noexcept;

// What a descriptor that came from somebody else must be before it is mapped: a memfd with the
// seals of its kind. Returns its size.
Result<std::size_t> check_segment(int fd, SegmentKind kind) noexcept;

}  // namespace weir::shm
