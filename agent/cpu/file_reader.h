// The only door from the CPU sampler to the machine, so that tests can stand
// recorded files in its place.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::agent {

class FileReader {
 public:
  FileReader() noexcept = default;
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  virtual ~FileReader() = default;

  // The text is valid until the next read() of the same reader. Absent when the
  // file cannot be opened or read; an empty file is present and empty.
  virtual std::optional<std::string_view> read(const char* path) noexcept = 0;
};

// Reads into one fixed buffer and allocates nothing. 64 KiB large: keep it off
// small stacks.
class SystemFileReader final : public FileReader {
 public:
  static constexpr std::size_t kFileBytesMax = 65'536;  // 64 KiB

  // A longer file is cut after its last whole line, since half a number would
  // be read as a smaller one.
  std::optional<std::string_view> read(const char* path) noexcept override;

 private:
  std::array<char, kFileBytesMax> buffer_{};
};

// How many CPUs this process may run on; absent when the kernel does not say.
std::optional<std::uint32_t> affinity_cpu_count() noexcept;

}  // namespace weir::agent
