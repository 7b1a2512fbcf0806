#include "server/wire_permit.h"

#include <algorithm>

#include "server/wire_parts.h"

namespace weir::server {
namespace {

lease::Permits permits(std::uint64_t value) noexcept {
  return static_cast<lease::Permits>(
      std::min(value, static_cast<std::uint64_t>(lease::kPermitsOfHostMax)));
}

}  // namespace

void to_wire(const lease::PermitReport& report, v1::PermitReports& message) {
  message.Clear();
  message.set_session(report.session);
  message.set_seq(report.seq);
  message.set_leaving(report.leaving);
  for (const lease::PermitRow& row : report.rows) {
    message.add_name(row.name);
    message.add_number(row.number);
    message.add_cap(to_bits(row.cap));
    message.add_in_flight(to_bits(row.in_flight));
    message.add_want(to_bits(row.want));
  }
}

void to_wire(const lease::PermitGrants& grants, v1::PermitGrants& message) {
  message.Clear();
  message.set_session(grants.session);
  message.set_seq(grants.seq);
  message.set_ttl_ns(to_bits(grants.ttl_ns));
  for (const lease::PermitGrantRow& row : grants.rows) {
    message.add_name(row.name);
    message.add_number(row.number);
    message.add_cap(to_bits(row.cap));
    message.add_hosts(row.hosts);
  }
}

bool from_wire(const v1::PermitReports& message, lease::PermitReport& report) {
  const int rows = message.name_size();
  if (message.number_size() != rows || message.cap_size() != rows ||
      message.in_flight_size() != rows || message.want_size() != rows)
    return false;
  report.session = message.session();
  report.seq = message.seq();
  report.leaving = message.leaving();
  report.rows.resize(static_cast<std::size_t>(rows));
  for (int i = 0; i < rows; ++i)
    report.rows[static_cast<std::size_t>(i)] = {
        message.name(i), message.number(i), permits(message.cap(i)), permits(message.in_flight(i)),
        permits(message.want(i))};
  return true;
}

bool from_wire(const v1::PermitGrants& message, lease::PermitGrants& grants) {
  const int rows = message.name_size();
  if (message.number_size() != rows || message.cap_size() != rows || message.hosts_size() != rows)
    return false;
  constexpr std::uint64_t kDayNs = 86'400'000'000'000;
  grants.session = message.session();
  grants.seq = message.seq();
  grants.ttl_ns = static_cast<lease::TimeNs>(std::min(message.ttl_ns(), kDayNs));
  grants.rows.resize(static_cast<std::size_t>(rows));
  for (int i = 0; i < rows; ++i)
    grants.rows[static_cast<std::size_t>(i)] = {message.name(i), message.number(i),
                                                permits(message.cap(i)), message.hosts(i)};
  return true;
}

}  // namespace weir::server
