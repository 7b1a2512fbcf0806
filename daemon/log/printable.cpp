#include "daemon/log/printable.h"

#include "daemon/log/escape.h"

namespace weir {

std::string printable(std::string_view text, std::size_t bytes_max) {
  std::string out;
  append_printable(out, text, bytes_max);
  return out;
}

}  // namespace weir
