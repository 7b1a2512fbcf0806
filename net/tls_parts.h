// What streams and blocking clients share of OpenSSL. For the sources of this folder.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace weir::net {

struct FreeSsl {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

// The first reason in OpenSSL's queue, which is the deepest, and an empty queue.
std::string take_reason();

// The socket as OpenSSL sees it. Its own kind writes without MSG_NOSIGNAL, and a peer that hung up
// would end the process. It never blocks.
struct SocketEnd {
  int fd = -1;
  int error = 0;
  bool ended = false;
};
// Null without memory. `end` must outlive it.
BIO* make_bio(SocketEnd& end) noexcept;

// A client says whom it has dialled, and if it verifies, whose certificate it takes.
bool expect_peer(SSL* ssl, const std::string& name, bool verify);

// After a failed handshake, and after a failed read or write.
std::string why_refused(SSL* ssl, const SocketEnd& end);
std::string why_ended(const SocketEnd& end);

}  // namespace weir::net
