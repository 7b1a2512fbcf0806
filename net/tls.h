// TLS for links and listeners. Everything that knows OpenSSL's streams is in tls.cpp: it is the one
// translation unit that pays for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/result.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace weir::net {

enum class TlsRole : std::uint8_t { client, server };

enum class VerifyPeer : std::uint8_t {
  none,      // a client that takes any server; a server that asks for no certificate
  optional,  // a server that checks a certificate if one is shown; not for clients
  required,
};

struct TlsOptions {
  std::string certificate_file;  // PEM, the chain from the leaf up; a server needs one
  std::string key_file;          // PEM
  std::string ca_file;           // PEM; empty: the system's own, for clients alone
  VerifyPeer verify_peer = VerifyPeer::required;
  // The name that the server's certificate must have. Empty: the host that was dialled.
  std::string server_name;
};

// Loaded and checked; shared by any number of connections, and replaced as a whole when the files
// have changed.
class TlsContext;

// The error names the file and what is wrong with it.
Result<std::shared_ptr<TlsContext>> load_tls(const TlsOptions& options, TlsRole role);

// The same for somebody else's streams, such as the HTTP server's.
std::shared_ptr<ssl_ctx_st> native_of(const std::shared_ptr<TlsContext>& context) noexcept;

// How long the own certificate is still valid; below zero: it has expired. INT64_MAX without one.
std::int64_t certificate_seconds_left(const TlsContext& context) noexcept;

}  // namespace weir::net
