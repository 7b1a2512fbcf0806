// A machine made of recorded files. A test loads a scenario and then changes
// what it is about, one file at a time.
//
// hybrid_host and v1_quota were taken twice, a second apart, from a kernel 6.18
// while a busy loop ran under a quota (v1_quota with the v2 lines taken out).
// The others are written by hand after the formats of the kernel, of Docker and
// of Kubernetes, with round figures.

#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "agent/cpu/file_reader.h"

namespace weir::agent {

inline constexpr std::int64_t kSecondNs = 1'000'000'000;
inline constexpr std::int64_t kStepNs = 100'000'000;
inline const std::string kRoot = "/sys/fs/cgroup";

class RecordedFiles final : public FileReader {
 public:
  RecordedFiles() = default;
  explicit RecordedFiles(const std::string& scenario) { load(scenario); }

  void load(const std::string& scenario) {
    files_.clear();
    const std::filesystem::path base = std::filesystem::path(WEIR_RECORDED_DIR) / scenario;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(base)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string name = "/" + entry.path().lexically_relative(base).generic_string();
      files_[name] = std::string(std::istreambuf_iterator<char>(in), {});
    }
  }

  void set(const std::string& path, std::string_view text) { files_[path] = std::string(text); }
  void remove(const std::string& path) { files_.erase(path); }
  bool has(const std::string& path) const { return files_.contains(path); }
  std::string& text(const std::string& path) { return files_.at(path); }
  std::map<std::string, std::string>& all() { return files_; }

  // The instant at which the scenario was recorded, where it says so.
  std::int64_t now_mono_ns() const { return std::stoll(files_.at("/now_mono_ns")); }

  // Overwrites one buffer, as the real reader does, so that a text that is used
  // after the next read is caught.
  std::optional<std::string_view> read(const char* path) noexcept override {
    const auto found = files_.find(path);
    if (found == files_.end()) return std::nullopt;
    buffer_.assign(buffer_.size(), '#');
    buffer_ = found->second;
    return buffer_;
  }

 private:
  std::map<std::string, std::string> files_;
  std::string buffer_;
};

}  // namespace weir::agent
