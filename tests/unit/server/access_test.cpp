#include "server/access.h"

#include <gtest/gtest.h>

#include "net/secret.h"

namespace weir::server {
namespace {

constexpr std::uint32_t kUs = 1000;

Access access_of(const AccessRule& rule, const net::Peer& peer, std::string_view token) {
  return check_access(rule, peer, token, kUs).access;
}

net::Peer stranger() {
  net::Peer peer;
  peer.address = "10.0.0.7:1";
  return peer;
}

TEST(Access, ANamespaceWithoutCredentialsIsOpen) {
  EXPECT_EQ(access_of({}, stranger(), ""), Access::granted);
}

TEST(Access, ATokenIsComparedByItsHash) {
  const AccessRule rule{{net::token_hash("other"), net::token_hash("secret")}, {}};

  EXPECT_EQ(access_of(rule, stranger(), "secret"), Access::granted);
  EXPECT_EQ(access_of(rule, stranger(), "Secret"), Access::wrong_token);
  EXPECT_EQ(access_of(rule, stranger(), net::token_hash("secret")), Access::wrong_token);
  EXPECT_EQ(access_of(rule, stranger(), ""), Access::no_credential);
}

TEST(Access, ACertificateIsComparedByItsNames) {
  const AccessRule rule{{}, {"*.hosts.example.com", "spiffe://x/agent/*"}};
  net::Peer peer = stranger();

  peer.names = {"web-1.hosts.example.com"};
  EXPECT_EQ(access_of(rule, peer, ""), Access::granted);
  peer.names = {"nothing", "spiffe://x/agent/7"};
  EXPECT_EQ(access_of(rule, peer, ""), Access::granted);
  peer.names = {"web-1.guests.example.com"};
  EXPECT_EQ(access_of(rule, peer, ""), Access::wrong_certificate);
  EXPECT_EQ(access_of(rule, stranger(), "token"), Access::wrong_token);
}

TEST(Access, OurOwnUserAndRootNeedNothingOnAUnixSocket) {
  const AccessRule rule{{net::token_hash("secret")}, {}};
  net::Peer peer;
  peer.credentials = net::UnixCredentials{1, kUs, kUs};
  EXPECT_EQ(access_of(rule, peer, ""), Access::granted);
  peer.credentials->uid = 0;
  EXPECT_EQ(access_of(rule, peer, ""), Access::granted);
  peer.credentials->uid = 1001;
  EXPECT_EQ(access_of(rule, peer, ""), Access::no_credential);
  EXPECT_EQ(access_of(rule, peer, "secret"), Access::granted);
}

TEST(Access, WhatOpenedItMustStayInTheRule) {
  AccessRule rule{{net::token_hash("secret")}, {"*.example.com"}};
  net::Peer named = stranger();
  named.names = {"a.example.com"};
  const std::string by_token = check_access(rule, stranger(), "secret", kUs).by;
  const std::string by_name = check_access(rule, named, "", kUs).by;
  EXPECT_EQ(by_name, "*.example.com");
  EXPECT_TRUE(still_granted(rule, stranger(), by_token, kUs));

  rule.tokens = {net::token_hash("other")};
  EXPECT_FALSE(still_granted(rule, stranger(), by_token, kUs));
  EXPECT_TRUE(still_granted(rule, named, by_name, kUs));
  EXPECT_FALSE(still_granted(rule, stranger(), "", kUs));  // it was open, and is not any more
  EXPECT_TRUE(still_granted({}, stranger(), by_token, kUs));
  net::Peer own;
  own.credentials = net::UnixCredentials{1, kUs, kUs};
  EXPECT_TRUE(still_granted(rule, own, "", kUs));
}

TEST(Access, AStarStaysInsideItsPartOfTheName) {
  EXPECT_TRUE(certificate_matches("a.example.com", "A.Example.com"));
  EXPECT_TRUE(certificate_matches("*.example.com", "a.example.com"));
  EXPECT_TRUE(certificate_matches("web-*.example.com", "web-12.example.com"));
  EXPECT_TRUE(certificate_matches("*", "host"));
  EXPECT_FALSE(certificate_matches("*.example.com", "a.b.example.com"));
  EXPECT_FALSE(certificate_matches("*.example.com", "example.com"));
  EXPECT_FALSE(certificate_matches("spiffe://x/*", "spiffe://x/a/b"));
  EXPECT_FALSE(certificate_matches("*", "a.b"));
  EXPECT_FALSE(certificate_matches("a.example.com", "a.example.com.evil"));
  EXPECT_FALSE(certificate_matches("", "a"));
  // No pattern makes the comparison slow.
  const std::string name(255, 'a');
  EXPECT_FALSE(certificate_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
}

TEST(Access, HostsHaveNamesThatHarmNoTerminal) {
  EXPECT_TRUE(is_host_name("web-1.example.com"));
  EXPECT_FALSE(is_host_name(""));
  EXPECT_FALSE(is_host_name("-a"));
  EXPECT_FALSE(is_host_name("a b"));
  EXPECT_FALSE(is_host_name("a\n"));
  EXPECT_FALSE(is_host_name("h\xc3\xb6st"));
  EXPECT_FALSE(is_host_name(std::string(256, 'a')));
}

}  // namespace
}  // namespace weir::server
