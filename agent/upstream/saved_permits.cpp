#include "agent/upstream/saved_permits.h"

#include <sstream>

namespace weir::agent {

namespace {

constexpr std::string_view kPermitsHead = "weir-permits 1";
constexpr std::string_view kPermitsEnd = "end";

}  // namespace

std::string to_text(const SavedPermits& saved) {
  std::ostringstream out;
  out << kPermitsHead << '\n'
      << saved.counters_id << ' ' << saved.desk.ttl_ns << ' ' << saved.boot_id;
  for (const lease::PermitDeskState::Held& held : saved.desk.held)
    out << '\n' << held.cap << ' ' << held.end_ns << ' ' << held.hosts << ' ' << held.name;
  out << '\n' << kPermitsEnd << '\n';
  return out.str();
}

std::optional<SavedPermits> parse_saved_permits(const std::string& text) {
  std::istringstream in(text);
  std::string line;
  if (!std::getline(in, line) || line != kPermitsHead || !std::getline(in, line))
    return std::nullopt;
  SavedPermits saved;
  std::istringstream first(line);
  if (!(first >> saved.counters_id >> saved.desk.ttl_ns >> saved.boot_id)) return std::nullopt;
  while (std::getline(in, line)) {
    if (line == kPermitsEnd) return saved;
    std::istringstream row(line);
    lease::PermitDeskState::Held held;
    // The name is the rest of the line: it may have blanks.
    if (!(row >> held.cap >> held.end_ns >> held.hosts) || row.get() != ' ' ||
        !std::getline(row, held.name))
      return std::nullopt;
    saved.desk.held.push_back(std::move(held));
  }
  return std::nullopt;
}

}  // namespace weir::agent
