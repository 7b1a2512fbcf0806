// The permits' messages from whoever reaches the port: tables are whole, names are names, and no
// count leaves its range.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "net/frame.h"
#include "net/lease_wire.h"

namespace weir::net {
namespace {

v1::ToServer reports(int rows) {
  v1::ToServer message;
  v1::PermitReports& out = *message.mutable_permit_reports();
  out.set_session(UINT64_MAX);
  out.set_seq(1);
  for (int i = 0; i < rows; ++i) {
    out.add_name(std::string(kLimitNameBytesMax, 'n'));
    out.add_number(UINT64_MAX);
    out.add_cap(kPermitsMax);
    out.add_in_flight(kPermitsMax);
    out.add_want(kPermitsMax);
  }
  return message;
}
v1::ToAgent grants(int rows) {
  v1::ToAgent message;
  v1::PermitGrants& out = *message.mutable_permit_grants();
  out.set_session(UINT64_MAX);
  out.set_ttl_ns(kTimeNsMax);
  for (int i = 0; i < rows; ++i) {
    out.add_name("db");
    out.add_number(UINT64_MAX);
    out.add_cap(kPermitsMax);
    out.add_hosts(UINT32_MAX);
  }
  return message;
}

TEST(PermitWire, TheLargestMessagesPassAndFit) {
  std::string frame;
  ASSERT_TRUE(append_frame(frame, reports(kPermitRowsMax)));
  v1::ToServer read;
  EXPECT_FALSE(decode(std::string_view(frame).substr(kFrameHeaderBytes), read));
  EXPECT_EQ(kind_of(read), ToServerKind::permit_reports);
  EXPECT_EQ(read.permit_reports().name_size(), kPermitRowsMax);

  frame.clear();
  ASSERT_TRUE(append_frame(frame, grants(kPermitRowsMax)));
  v1::ToAgent heard;
  EXPECT_FALSE(decode(std::string_view(frame).substr(kFrameHeaderBytes), heard));
  EXPECT_EQ(kind_of(heard), ToAgentKind::permit_grants);
}

TEST(PermitWire, WhatIsCrookedIsRefused) {
  using Spoil = std::function<void(v1::PermitReports&)>;
  const std::vector<Spoil> spoils{
      [](v1::PermitReports& m) { m.set_seq(0); },
      [](v1::PermitReports& m) { m.add_name("more"); },
      [](v1::PermitReports& m) { m.add_number(1); },
      [](v1::PermitReports& m) { m.mutable_cap()->RemoveLast(); },
      [](v1::PermitReports& m) { m.mutable_in_flight()->RemoveLast(); },
      [](v1::PermitReports& m) { m.add_want(1); },
      [](v1::PermitReports& m) { m.set_cap(0, kPermitsMax + 1); },
      [](v1::PermitReports& m) { m.set_in_flight(0, UINT64_MAX); },
      [](v1::PermitReports& m) { m.set_want(0, kPermitsMax + 1); },
      [](v1::PermitReports& m) { m.set_name(0, ""); },
      [](v1::PermitReports& m) { m.set_name(0, "a\nb"); },
      [](v1::PermitReports& m) { m.set_name(0, std::string(kLimitNameBytesMax + 1, 'n')); },
  };
  for (std::size_t i = 0; i < spoils.size(); ++i) {
    v1::ToServer message = reports(2);
    ASSERT_FALSE(check(message)) << i;
    spoils[i](*message.mutable_permit_reports());
    EXPECT_TRUE(check(message)) << i;
  }
  EXPECT_TRUE(check(reports(kPermitRowsMax + 1)));
  EXPECT_TRUE(check(grants(kPermitRowsMax + 1)));

  using SpoilGrant = std::function<void(v1::PermitGrants&)>;
  const std::vector<SpoilGrant> others{
      [](v1::PermitGrants& m) { m.set_ttl_ns(kTimeNsMax + 1); },
      [](v1::PermitGrants& m) { m.set_cap(0, kPermitsMax + 1); },
      [](v1::PermitGrants& m) { m.add_hosts(1); },
      [](v1::PermitGrants& m) { m.mutable_number()->RemoveLast(); },
      [](v1::PermitGrants& m) { m.set_name(1, "\x01"); },
  };
  for (std::size_t i = 0; i < others.size(); ++i) {
    v1::ToAgent message = grants(2);
    ASSERT_FALSE(check(message)) << i;
    others[i](*message.mutable_permit_grants());
    EXPECT_TRUE(check(message)) << i;
  }
}

}  // namespace
}  // namespace weir::net
