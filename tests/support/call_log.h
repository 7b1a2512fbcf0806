// What worker processes did, in a file that all of them map: each has a lane of its own, and a
// killed one leaves a lane that its successor goes on with. A record is whole before it is counted,
// so a kill costs the oracle at most the one call that was under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/oracle.h"

namespace weir::test {

struct alignas(128) Lane {
  std::atomic<std::uint64_t> admitted;  // records
  std::atomic<std::uint64_t> calls;
  std::atomic<std::uint64_t> denied;
  std::atomic<std::uint64_t> errors;
  std::atomic<std::int64_t> last_error;
  std::atomic<std::int64_t> longest_call_ns;
  std::atomic<std::int64_t> last_call_ns;
  std::atomic<std::uint64_t> starts;  // incarnations that came as far as their first call
  std::atomic<std::uint64_t> full;    // 1: no room for more records
  std::atomic<std::int64_t> a, b, c;  // whatever a worker's mode says
};

class CallLog {
 public:
  // Creates the file, or (without lanes) maps one that is there.
  static CallLog create(const std::string& path, std::uint32_t lanes, std::uint64_t records);
  static CallLog open(const std::string& path);
  CallLog(CallLog&& other) noexcept;
  CallLog(const CallLog&) = delete;
  CallLog& operator=(const CallLog&) = delete;
  ~CallLog();

  std::uint32_t lanes() const { return header().lanes; }
  Lane& lane(std::uint32_t index) const;
  const std::string& path() const { return path_; }
  void stop() const { header().stop.store(1); }
  void resume() const { header().stop.store(0); }
  bool stopped() const { return header().stop.load(std::memory_order_relaxed) != 0; }
  // A word that workers wait on before their first call, so that they start together.
  std::atomic<std::uint32_t>& go() const { return header().go; }

  // False when the lane is full.
  bool append(std::uint32_t lane, const Admission& admission) const;
  std::vector<Admission> admissions() const;
  std::vector<Admission> admissions_of(std::uint32_t lane) const;

  std::uint64_t sum(std::atomic<std::uint64_t> Lane::*member) const;

 private:
  struct Header {
    std::uint32_t lanes;
    std::atomic<std::uint32_t> stop;
    std::atomic<std::uint32_t> go;
    std::uint64_t records;
  };
  CallLog(std::string path, void* base, std::size_t bytes) noexcept;
  static std::size_t bytes_for(std::uint32_t lanes, std::uint64_t records);
  Header& header() const { return *static_cast<Header*>(base_); }
  Admission* records(std::uint32_t lane) const;

  std::string path_;
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace weir::test
