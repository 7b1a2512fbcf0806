// The parts of diff.cpp. Internal to this folder.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rules/diff.h"

namespace weir {

template <class Rule>
using ByName = std::unordered_map<std::string_view, const Rule*>;

template <class Rule>
ByName<Rule> by_name(const std::vector<Rule>& rules) {
  ByName<Rule> map;
  for (const Rule& rule : rules)
    map.emplace(rule.name, &rule);
  return map;
}

// Changes in the order in which they are added; what is the same on both sides is left out.
class ChangeList {
 public:
  void set_place(ChangePlace place) noexcept { place_ = place; }
  void add(const std::string& domain, const std::string& limit, const Fields& before,
           const Fields& after);
  void add_limits(const std::string& domain, const std::vector<LimitRule>& before,
                  const std::vector<LimitRule>& after);
  std::vector<RuleChange> take() { return std::move(changes_); }

 private:
  ChangePlace place_ = ChangePlace::domain;
  std::vector<RuleChange> changes_;
};

std::string bracketed(const std::vector<std::string>& words);  // "[a, b]"

}  // namespace weir
