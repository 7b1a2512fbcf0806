#include "net/tls_parts.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <cstring>

namespace weir::net {

std::string take_reason() {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown reason";
}

namespace {

int end_write(BIO* bio, const char* data, int bytes) {
  auto* end = static_cast<SocketEnd*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const ssize_t n =
      ::send(end->fd, data, static_cast<std::size_t>(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n >= 0) return static_cast<int>(n);
  if (errno == EAGAIN || errno == EINTR)
    BIO_set_retry_write(bio);
  else
    end->error = errno;
  return -1;
}

int end_read(BIO* bio, char* data, int bytes) {
  auto* end = static_cast<SocketEnd*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(end->fd, data, static_cast<std::size_t>(bytes), MSG_DONTWAIT);
  if (n > 0) return static_cast<int>(n);
  if (n == 0)
    end->ended = true;
  else if (errno == EAGAIN || errno == EINTR)
    BIO_set_retry_read(bio);
  else
    end->error = errno;
  return n == 0 ? 0 : -1;
}

long end_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

}  // namespace

BIO* make_bio(SocketEnd& end) noexcept {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir socket");
    if (made != nullptr) {
      BIO_meth_set_write(made, end_write);
      BIO_meth_set_read(made, end_read);
      BIO_meth_set_ctrl(made, end_control);
    }
    return made;
  }();
  BIO* bio = method != nullptr ? BIO_new(method) : nullptr;
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, &end);
  BIO_set_init(bio, 1);
  return bio;
}

bool expect_peer(SSL* ssl, const std::string& name, bool verify) {
  boost::system::error_code not_numeric;
  (void)boost::asio::ip::make_address(name, not_numeric);
  X509_VERIFY_PARAM* rules = SSL_get0_param(ssl);
  if (not_numeric && SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) return false;
  if (!verify) return true;
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (name.empty()) return false;
  if (!not_numeric) return X509_VERIFY_PARAM_set1_ip_asc(rules, name.c_str()) == 1;
  return X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size()) == 1;
}

std::string why_refused(SSL* ssl, const SocketEnd& end) {
  const long verdict = SSL_get_verify_result(ssl);
  if (verdict == X509_V_OK) return why_ended(end);
  ERR_clear_error();
  return std::string("the peer's certificate was not accepted: ") +
         X509_verify_cert_error_string(verdict);
}

std::string why_ended(const SocketEnd& end) {
  if (end.error != 0) return std::strerror(end.error);
  const bool said = ERR_peek_error() != 0;
  if (end.ended || !said) {
    ERR_clear_error();
    return "the peer closed the connection";
  }
  return take_reason();
}

}  // namespace weir::net
