// What the attach socket passes on about quotas. Texts are as the client sent them.
#pragma once

#include <cstdint>
#include <string_view>

#include "shm/quota_frame.h"

namespace weir::agent {

struct QuotaCaller {
  std::string_view process;
  std::uint32_t uid = 0;
};

class QuotaDoor {
 public:
  virtual ~QuotaDoor() = default;
  // Units of a key are wanted.
  virtual void on_ask(std::string_view name, std::string_view key, std::uint64_t units) = 0;
  // How the work went for which units were taken.
  virtual void on_report(const QuotaCaller& caller, const shm::QuotaFrameTail& tail,
                         std::string_view name, std::string_view key, std::string_view reason) = 0;
};

}  // namespace weir::agent
