#include "tests/support/call_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace weir::test {

namespace {

constexpr std::size_t kHeaderBytes = 4096;

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::abort();
}

}  // namespace

std::size_t CallLog::bytes_for(std::uint32_t lanes, std::uint64_t records) {
  return kHeaderBytes + lanes * (sizeof(Lane) + records * sizeof(Admission));
}

CallLog::CallLog(std::string path, void* base, std::size_t bytes) noexcept
    : path_(std::move(path)), base_(base), bytes_(bytes) {}

CallLog::CallLog(CallLog&& other) noexcept
    : path_(std::move(other.path_)),
      base_(std::exchange(other.base_, nullptr)),
      bytes_(other.bytes_) {}

CallLog::~CallLog() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

CallLog CallLog::create(const std::string& path, std::uint32_t lanes, std::uint64_t records) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  const std::size_t bytes = bytes_for(lanes, records);
  if (fd < 0 || ::fchmod(fd, 0666) != 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0)
    give_up("call log");
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (base == MAP_FAILED) give_up("mapping the call log");
  auto* header = static_cast<Header*>(base);
  header->lanes = lanes;
  header->records = records;
  return CallLog(path, base, bytes);
}

CallLog CallLog::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) give_up("call log");
  const auto bytes = static_cast<std::size_t>(status.st_size);
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (base == MAP_FAILED) give_up("mapping the call log");
  return CallLog(path, base, bytes);
}

Lane& CallLog::lane(std::uint32_t index) const {
  auto* lanes = reinterpret_cast<Lane*>(static_cast<char*>(base_) + kHeaderBytes);
  return lanes[index];
}

Admission* CallLog::records(std::uint32_t index) const {
  auto* first = reinterpret_cast<Admission*>(static_cast<char*>(base_) + kHeaderBytes +
                                             header().lanes * sizeof(Lane));
  return first + index * header().records;
}

bool CallLog::append(std::uint32_t index, const Admission& admission) const {
  Lane& mine = lane(index);
  const std::uint64_t at = mine.admitted.load(std::memory_order_relaxed);
  if (at >= header().records) {
    mine.full.store(1);
    return false;
  }
  records(index)[at] = admission;
  mine.admitted.store(at + 1, std::memory_order_release);
  return true;
}

std::vector<Admission> CallLog::admissions_of(std::uint32_t index) const {
  const std::uint64_t count = lane(index).admitted.load(std::memory_order_acquire);
  return {records(index), records(index) + count};
}

std::vector<Admission> CallLog::admissions() const {
  std::vector<Admission> all;
  for (std::uint32_t i = 0; i < lanes(); ++i) {
    const std::vector<Admission> some = admissions_of(i);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::uint64_t CallLog::sum(std::atomic<std::uint64_t> Lane::*member) const {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < lanes(); ++i)
    sum += (lane(i).*member).load();
  return sum;
}

}  // namespace weir::test
