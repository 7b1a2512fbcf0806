#include "shm/segment.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <cerrno>
#include <new>
#include <utility>

namespace weir::shm {

namespace bip = boost::interprocess;

namespace {

// All that mapped_region asks of an object: its handle. The descriptor stays its owner's.
class Mappable {
 public:
  explicit Mappable(int fd) noexcept : fd_(fd) {}
  bip::mapping_handle_t get_mapping_handle() const noexcept {
    return bip::ipcdetail::mapping_handle_from_file_handle(fd_);
  }

 private:
  int fd_;
};

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

constexpr int kCountersSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr int kRulesSeals = kCountersSeals | F_SEAL_FUTURE_WRITE;

int seals_of(SegmentKind kind) noexcept {
  return kind == SegmentKind::rules ? kRulesSeals : kCountersSeals;
}

}  // namespace

static_assert(sizeof(bip::mapped_region) <= 64);

namespace {

bip::mapped_region& region_of(std::byte* storage) noexcept {
  return *std::launder(reinterpret_cast<bip::mapped_region*>(storage));
}

}  // namespace

void Mapping::take(Mapping& other) noexcept {
  if (other.base_ == nullptr) return;
  ::new (static_cast<void*>(region_)) bip::mapped_region(std::move(region_of(other.region_)));
  base_ = std::exchange(other.base_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  region_of(other.region_).~mapped_region();
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    unmap();
    take(other);
  }
  return *this;
}

void Mapping::unmap() noexcept {
  if (base_ == nullptr) return;
  region_of(region_).~mapped_region();
  base_ = nullptr;
  bytes_ = 0;
}

void Mapping::retire() noexcept {
  if (base_ == nullptr) return;
  (void)::mmap(base_, bytes_, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  base_ = nullptr;  // the region object is abandoned: its destructor would unmap
  bytes_ = 0;
}

Result<Mapping> map_segment(int fd, std::size_t bytes, bool writable) noexcept {
  try {
    Mapping mapping;
    const Mappable mappable(fd);
    auto* region = ::new (static_cast<void*>(mapping.region_))
        bip::mapped_region(mappable, writable ? bip::read_write : bip::read_only, 0, bytes);
    mapping.base_ = static_cast<std::byte*>(region->get_address());
    mapping.bytes_ = region->get_size();
    return mapping;
  } catch (const bip::interprocess_exception& e) {
    return Error{Errc::system, "mmap of a segment failed", e.get_native_error()};
  }
}

Result<Fd> make_segment(const char* name, std::size_t bytes) noexcept {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd fd(::memfd_create(name, kFlags | MFD_NOEXEC_SEAL));
  if (!fd && errno == EINVAL) fd.reset(::memfd_create(name, kFlags));  // before Linux 6.3
  if (!fd) return Error{Errc::system, "memfd_create failed", errno};
  if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0)
    return Error{Errc::system, "no memory for a segment", error};
  return fd;
}

Result<int> seal_segment(int fd, SegmentKind kind) noexcept {
  if (::fcntl(fd, F_ADD_SEALS, seals_of(kind)) != 0)
    return Error{Errc::system, "sealing a segment failed", errno};
  return 0;
}

Result<std::size_t> check_segment(int fd, SegmentKind kind) noexcept {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return Error{Errc::not_sealed, "segment: not a memfd", errno};
  const int wanted = seals_of(kind);
  if ((seals & wanted) != wanted)
    return Error{Errc::not_sealed, "segment: a seal is missing, others could change its size", 0};
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Error{Errc::system, "fstat of a segment failed", errno};
  if (status.st_size <= 0 || status.st_size > (1LL << 32))
    return Error{Errc::bad_geometry, "segment: size out of range", 0};
  return static_cast<std::size_t>(status.st_size);
}

}  // namespace weir::shm
