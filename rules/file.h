// Reads a whole small file, or says in one phrase why not.
#pragma once

#include <cstddef>
#include <string>

namespace weir {

struct FileText {
  std::string text;
  std::string error;  // empty on success; continues a sentence that names the file
  bool missing = false;
};

// Regular files alone: a pipe would block the caller, a device might never end.
FileText read_file(const std::string& path, std::size_t bytes_max);

}  // namespace weir
