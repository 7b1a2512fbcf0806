#include "daemon/http/host_guard.h"

#include <gtest/gtest.h>

#include <string>

namespace weir {
namespace {

TEST(HostGuard, AdmitsOurselvesOnLoopback) {
  const HostGuard guard(true, {"build-7", "metrics.example.org"});
  for (const char* host :
       {"localhost", "LOCALHOST:9464", "localhost.", "127.0.0.1", "127.0.0.1:9464", "10.1.2.3",
        "[::1]", "[::1]:9464", "[fe80::1]", "build-7", "Build-7:80", "metrics.example.org"}) {
    EXPECT_TRUE(guard.admits(host)) << host;
  }
}

// A stranger can point any of these names at 127.0.0.1.
TEST(HostGuard, RefusesNamesThatOthersOwn) {
  const HostGuard guard(true, {"build-7", ""});
  const std::string too_long(300, 'a');
  for (const std::string& host :
       {std::string("evil.example"), std::string("localhost.evil.example"),
        std::string("127.0.0.1.evil.example"), std::string("build-7.evil.example"),
        std::string("localhost:80@evil.example"), std::string("localhost:x"),
        std::string("localhost:123456"), std::string("[::1].evil.example"), std::string("[::1"),
        std::string("[127.0.0.1]"), std::string("::1"), std::string("127.1"), std::string(""),
        std::string("."), std::string(":80"), std::string("127.0.0.1\0.evil", 15), too_long}) {
    EXPECT_FALSE(guard.admits(host)) << host;
  }
}

TEST(HostGuard, AdmitsAllWhenNotOnLoopback) {
  EXPECT_TRUE(HostGuard(false, {}).admits("any.example"));
}

TEST(HostGuard, KnowsThisHostsName) { EXPECT_FALSE(own_host_name().empty()); }

}  // namespace
}  // namespace weir
