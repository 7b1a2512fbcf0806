// A context is loaded file by file, so that
// an error names the file; a failed handshake says why a certificate was not accepted.
//
// OpenSSL reads and writes the socket itself and Asio only waits for it: Asio's own TLS stream
// keeps 80 KiB of buffers for each connection, silent or not, and a server has one for each host.
#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "net/lease_wire.h"
#include "net/stream.h"
#include "net/tls_parts.h"

namespace weir::net {

namespace {

using boost::system::error_code;

constexpr int kRecordsPerTurn = 16;  // then the others get theirs
constexpr std::size_t kWriteBytesMax = 1U << 20;
constexpr std::size_t kNamesMax = 32;
constexpr unsigned char kSessionContext[] = "weir";

Error bad_file(const char* what, const std::string& file, const std::string& why) {
  return {Failure::invalid, std::string(what) + " " + file + ": " + why};
}

// OpenSSL's own message for a file that is not there is a riddle.
std::string why_unreadable(const std::string& file) {
  errno = 0;
  std::ifstream in(file);
  if (!in) return errno != 0 ? std::strerror(errno) : "it cannot be opened";
  if (in.peek() == std::ifstream::traits_type::eof()) return "it is empty, or no file";
  return {};
}

// A passphrase would be asked at a terminal that a daemon does not have.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

struct FreeContext {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};

}  // namespace

class TlsContext {
 public:
  TlsContext(const TlsOptions& options, TlsRole role)
      : options_(options),
        role_(role),
        context_(SSL_CTX_new(role == TlsRole::server ? TLS_server_method() : TLS_client_method())) {
  }

  Result<bool> load();
  SSL_CTX* raw() const noexcept { return context_.get(); }
  const TlsOptions& options() const noexcept { return options_; }
  TlsRole role() const noexcept { return role_; }
  std::int64_t seconds_left() const noexcept;

 private:
  Result<bool> load_certificate();
  Result<bool> load_authorities();

  TlsOptions options_;
  TlsRole role_;
  std::unique_ptr<SSL_CTX, FreeContext> context_;
};

Result<bool> TlsContext::load() {
  SSL_CTX* raw = context_.get();
  if (raw == nullptr) return Error{Failure::invalid, "OpenSSL cannot be used: " + take_reason()};
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  // No sessions are resumed: a certificate that has expired or was replaced counts at once.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_id_context(raw, kSessionContext, sizeof(kSessionContext) - 1);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
  if (role_ == TlsRole::server && options_.certificate_file.empty())
    return Error{Failure::invalid, "a server with TLS needs a certificate and a key"};
  if (role_ == TlsRole::client && options_.verify_peer == VerifyPeer::optional)
    return Error{Failure::invalid,
                 "a client verifies its server or does not; it has no 'optional'"};
  if (options_.certificate_file.empty() != options_.key_file.empty())
    return Error{Failure::invalid, "a certificate needs its key, and a key its certificate"};
  if (auto done = load_certificate(); !done) return done;
  return load_authorities();
}

Result<bool> TlsContext::load_certificate() {
  if (options_.certificate_file.empty()) return true;
  SSL_CTX* raw = context_.get();
  const std::string& certificate = options_.certificate_file;
  const std::string& key = options_.key_file;
  if (const auto why = why_unreadable(certificate); !why.empty())
    return bad_file("certificate", certificate, why);
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(raw, certificate.c_str()) != 1)
    return bad_file("certificate", certificate, "no usable certificate (" + take_reason() + ")");
  if (const auto why = why_unreadable(key); !why.empty()) return bad_file("key", key, why);
  bool asked = false;
  SSL_CTX_set_default_passwd_cb(raw, no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(raw, &asked);
  const int loaded = SSL_CTX_use_PrivateKey_file(raw, key.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set_default_passwd_cb_userdata(raw, nullptr);
  SSL_CTX_set_default_passwd_cb(raw, nullptr);
  if (loaded != 1) {
    const std::string reason = take_reason();
    if (reason.find("mismatch") != std::string::npos)
      return bad_file("key", key, "it does not belong to the certificate " + certificate);
    if (asked) return bad_file("key", key, "it is encrypted; weir cannot ask for a passphrase");
    return bad_file("key", key, "no usable private key (" + reason + ")");
  }
  if (SSL_CTX_check_private_key(raw) != 1) {
    (void)take_reason();
    return bad_file("key", key, "it does not belong to the certificate " + certificate);
  }
  return true;
}

Result<bool> TlsContext::load_authorities() {
  SSL_CTX* raw = context_.get();
  const std::string& file = options_.ca_file;
  switch (options_.verify_peer) {
    case VerifyPeer::none:
      SSL_CTX_set_verify(raw, SSL_VERIFY_NONE, nullptr);
      return true;
    case VerifyPeer::optional:
      SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
      break;
    case VerifyPeer::required:
      SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
      break;
  }
  ERR_clear_error();
  if (file.empty()) {
    // Whom the system trusts to name servers is nobody to say who may take our tokens.
    if (role_ == TlsRole::server)
      return Error{Failure::invalid, "a server that checks certificates needs a CA file"};
    if (SSL_CTX_set_default_verify_paths(raw) == 1) return true;
    return Error{Failure::invalid, "the system's CA certificates: " + take_reason()};
  }
  if (const auto why = why_unreadable(file); !why.empty()) return bad_file("CA file", file, why);
  if (SSL_CTX_load_verify_locations(raw, file.c_str(), nullptr) != 1)
    return bad_file("CA file", file, "no usable certificate (" + take_reason() + ")");
  if (role_ == TlsRole::server)
    SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(file.c_str()));
  return true;
}

std::int64_t TlsContext::seconds_left() const noexcept {
  const X509* own = SSL_CTX_get0_certificate(context_.get());
  int days = 0;
  int seconds = 0;
  if (own == nullptr || ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(own)) != 1)
    return INT64_MAX;
  return std::int64_t{days} * 86'400 + seconds;
}

Result<std::shared_ptr<TlsContext>> load_tls(const TlsOptions& options, TlsRole role) {
  auto context = std::make_shared<TlsContext>(options, role);
  if (auto loaded = context->load(); !loaded) return loaded.error();
  return context;
}

std::shared_ptr<ssl_ctx_st> native_of(const std::shared_ptr<TlsContext>& context) noexcept {
  return context == nullptr ? nullptr : std::shared_ptr<ssl_ctx_st>(context, context->raw());
}

std::int64_t certificate_seconds_left(const TlsContext& context) noexcept {
  return context.seconds_left();
}

namespace {

void add_name(std::vector<std::string>& names, const ASN1_STRING* text) {
  if (text == nullptr || names.size() >= kNamesMax) return;
  unsigned char* utf8 = nullptr;
  const int bytes = ASN1_STRING_to_UTF8(&utf8, text);
  if (bytes < 0) return;
  std::string name(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(bytes));
  OPENSSL_free(utf8);
  // A zero byte inside a name is the oldest of tricks; clean text has none.
  if (!name.empty() && name.size() <= kHostNameBytesMax && is_clean_text(name))
    names.push_back(std::move(name));
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> names;
  auto* alternatives = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives, i);
    if (name->type == GEN_DNS) add_name(names, name->d.dNSName);
    if (name->type == GEN_URI) add_name(names, name->d.uniformResourceIdentifier);
  }
  GENERAL_NAMES_free(alternatives);
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) add_name(names, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  return names;
}

class TlsStream final : public ByteStream, public std::enable_shared_from_this<TlsStream> {
 public:
  TlsStream(Socket socket, std::shared_ptr<TlsContext> context, std::string host)
      : context_(std::move(context)), host_(std::move(host)), socket_(std::move(socket)) {
    end_.fd = socket_.native_handle();
    ssl_.reset(SSL_new(context_->raw()));
  }

  void open(StreamEvents& events) override;
  bool write(std::string& bytes) override;
  std::size_t unsent_bytes() const noexcept override { return out_.size() - out_offset_; }
  std::uint64_t written_total() const noexcept override { return written_total_; }
  void shutdown_send() noexcept override;
  void close() noexcept override;
  void fill_peer(Peer& peer) const override;

 private:
  bool prepare();
  bool expect_name();
  void shake_hands();
  void read_some();
  bool write_some();
  void finish_write();

  void wait_readable();
  void wait_writable();
  // What OpenSSL waits for before it can go on; false when it cannot.
  bool wait_for(int result);
  void end(const std::string& why);

  std::shared_ptr<TlsContext> context_;
  std::string host_;
  Socket socket_;
  SocketEnd end_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  StreamEvents* events_ = nullptr;
  std::string out_;
  std::size_t out_offset_ = 0;
  std::uint64_t written_total_ = 0;
  bool shaken_ = false;
  bool waits_readable_ = false;
  bool waits_writable_ = false;
  bool writing_ = false;  // write() has said false, and on_stream_written() is due
};

void TlsStream::open(StreamEvents& events) {
  events_ = &events;
  if (prepare()) return shake_hands();
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->end("TLS: the name of the server cannot be used");
  });
}

bool TlsStream::prepare() {
  BIO* bio = ssl_ ? make_bio(end_) : nullptr;
  if (bio == nullptr) return false;
  SSL_set_bio(ssl_.get(), bio, bio);
  if (context_->role() == TlsRole::server) {
    SSL_set_accept_state(ssl_.get());
    return true;
  }
  SSL_set_connect_state(ssl_.get());
  return expect_name();
}

// The certificate must have this name, and the server may choose by it which one to show.
bool TlsStream::expect_name() {
  const std::string& wanted = context_->options().server_name;
  return expect_peer(ssl_.get(), wanted.empty() ? host_ : wanted,
                     context_->options().verify_peer != VerifyPeer::none);
}

void TlsStream::shake_hands() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_.get());
  if (done != 1) {
    if (!wait_for(done)) end("TLS: " + why_refused(ssl_.get(), end_));
    return;
  }
  shaken_ = true;
  events_->on_stream_ready();
  // The first message may have come along with the last of the handshake.
  if (events_ != nullptr) read_some();
}

bool TlsStream::write(std::string& bytes) {
  out_.swap(bytes);
  bytes.clear();
  out_offset_ = 0;
  if (events_ == nullptr) return false;
  writing_ = !write_some();
  return !writing_;
}

// True when nothing is left. A write that fails is found by the reader too, perhaps behind a last
// message of the peer; the write deadline is there if it is not.
bool TlsStream::write_some() {
  while (unsent_bytes() != 0) {
    ERR_clear_error();
    const int n = SSL_write(ssl_.get(), out_.data() + out_offset_,
                            static_cast<int>(std::min(unsent_bytes(), kWriteBytesMax)));
    if (n <= 0) {
      (void)wait_for(n);
      return false;
    }
    out_offset_ += static_cast<std::size_t>(n);
    written_total_ += static_cast<std::uint64_t>(n);
  }
  out_.clear();
  out_offset_ = 0;
  return true;
}

void TlsStream::finish_write() {
  if (!writing_ || !write_some()) return;
  writing_ = false;
  events_->on_stream_written();
}

void TlsStream::read_some() {
  const std::span<char> buffer = read_buffer();
  for (int i = 0; i < kRecordsPerTurn; ++i) {
    ERR_clear_error();
    const int n = SSL_read(ssl_.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (n <= 0) {
      if (!wait_for(n)) end(why_ended(end_));
      return;
    }
    events_->on_stream_bytes({buffer.data(), static_cast<std::size_t>(n)});
    if (events_ == nullptr) return;
  }
  // The buffer takes a whole record, and OpenSSL reads none ahead: what is left is in the socket.
  wait_readable();
}

bool TlsStream::wait_for(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      wait_readable();
      return true;
    case SSL_ERROR_WANT_WRITE:
      wait_writable();
      return true;
    default:
      return false;
  }
}

// Either direction of TLS may have to wait for either direction of the socket, so that whatever can
// go on is tried.
void TlsStream::wait_readable() {
  if (std::exchange(waits_readable_, true)) return;
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code error) {
    self->waits_readable_ = false;
    if (self->events_ == nullptr) return;
    if (error) return self->end(error.message());
    if (!self->shaken_) return self->shake_hands();
    self->finish_write();
    if (self->events_ != nullptr) self->read_some();
  });
}

void TlsStream::wait_writable() {
  if (std::exchange(waits_writable_, true)) return;
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](error_code error) {
    self->waits_writable_ = false;
    if (self->events_ == nullptr) return;
    if (error) return self->end(error.message());
    if (!self->shaken_) return self->shake_hands();
    self->finish_write();
    if (self->events_ != nullptr && !self->waits_readable_) self->read_some();
  });
}

// No close_notify: frames say themselves where they end, so a cut stream cannot pass for whole.
void TlsStream::shutdown_send() noexcept {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void TlsStream::close() noexcept {
  events_ = nullptr;
  error_code ignored;
  socket_.close(ignored);
  end_.fd = -1;
}

void TlsStream::fill_peer(Peer& peer) const {
  peer.tls = true;
  const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  // Names of a certificate that nobody has verified are anybody's.
  if (certificate != nullptr && context_->options().verify_peer != VerifyPeer::none &&
      SSL_get_verify_result(ssl_.get()) == X509_V_OK)
    peer.names = names_of(certificate);
}

void TlsStream::end(const std::string& why) {
  if (StreamEvents* events = std::exchange(events_, nullptr)) events->on_stream_ended(why);
}

}  // namespace

std::shared_ptr<ByteStream> make_tls_stream(Socket socket, std::shared_ptr<TlsContext> context,
                                            const std::string& host) {
  return std::make_shared<TlsStream>(std::move(socket), std::move(context), host);
}

}  // namespace weir::net
