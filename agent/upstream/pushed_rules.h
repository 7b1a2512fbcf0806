// The limits that a server sends: from the wire to what a domain can publish, and to a file, so
// that an agent that starts while no server answers knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rules/rules.h"
#include "weir/v1/lease.pb.h"

namespace weir::agent {

struct PushedRules {
  std::uint64_t version = 0;  // 0: none
  std::uint32_t hosts = 0;
  std::vector<LimitRule> limits;
  std::size_t skipped = 0;  // that make no limit of a host: too large, or named badly
};

// Takes the parts of a set in order. The set is whole when its last part has come.
class RulesAssembler {
 public:
  std::optional<PushedRules> take(const v1::Rules& part);
  void reset() { whole_.Clear(); }

 private:
  v1::Rules whole_;
  std::uint32_t next_part_ = 0;
};

PushedRules to_rules(const v1::Rules& whole);

// Of these limits those that hosts spend from: not the parents, which are divided among others.
std::vector<LimitRule> leaves_of(const std::vector<LimitRule>& limits);

// Empty when it was written, otherwise why not.
std::string save_rules(const std::string& path, const PushedRules& rules);
PushedRules load_rules(const std::string& path);

}  // namespace weir::agent
