// Which CPU does what. The servers and the agent are a host of one core, in a control group of
// their own where the machine lets us make one; the generator has another core.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::bench {

class Place {
 public:
  Place() = default;
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // Needs two CPUs; with one, both sides share it and grouped() is false.
  void make(int server_cpu, int generator_cpu);

  bool grouped() const { return grouped_; }
  int server_cpu() const { return server_cpu_; }
  int generator_cpu() const { return generator_cpu_; }

  // For a child, before it does anything else.
  void enter_server() const;
  void enter_generator() const;

  // CPU time that the server side has used so far, in nanoseconds; without a group that of the
  // whole core, whoever used it. Negative: not known.
  std::int64_t server_cpu_ns() const;

 private:
  bool make_group();

  int server_cpu_ = 0;
  int generator_cpu_ = 0;
  bool grouped_ = false;
  std::vector<std::string> dirs_;  // one in each hierarchy
  std::string usage_file_;
};

}  // namespace weir::bench
