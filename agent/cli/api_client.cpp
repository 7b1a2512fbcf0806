#include "agent/cli/api_client.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>

#include "net/tls_client.h"

namespace weir::cli {

namespace {

constexpr int kTimeoutS = 35;  // the server itself gives up after 30
constexpr std::size_t kTokenBytesMax = 512;

net::Error broken(std::string text) { return {net::Failure::broken, std::move(text)}; }

class Socket {
 public:
  explicit Socket(int fd) noexcept : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

struct Place {
  std::string host;
  std::string port;
  bool secure = false;
};

net::Result<Place> place_of(std::string_view address) {
  constexpr std::string_view kHttp = "http://";
  constexpr std::string_view kHttps = "https://";
  const bool secure = address.starts_with(kHttps);
  if (secure) address.remove_prefix(kHttps.size());
  if (address.starts_with(kHttp)) address.remove_prefix(kHttp.size());
  while (address.ends_with('/'))
    address.remove_suffix(1);
  const std::size_t colon = address.rfind(':');
  if (colon == address.npos || colon == 0 || colon + 1 == address.size())
    return broken("'" + std::string(address) + "' is no address of the API, such as " +
                  kDefaultApi);
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return Place{std::string(host), std::string(address.substr(colon + 1)), secure};
}

net::Result<int> connect_to(const Place& place, const std::string& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &found);
      error != 0)
    return broken(address + ": " + ::gai_strerror(error));
  int fd = -1;
  int why = ECONNREFUSED;
  for (const addrinfo* each = found; each != nullptr && fd < 0; each = each->ai_next) {
    fd = ::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
    if (fd < 0) continue;
    timeval timeout{};
    timeout.tv_sec = kTimeoutS;
    (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (::connect(fd, each->ai_addr, each->ai_addrlen) == 0) break;
    why = errno;
    ::close(fd);
    fd = -1;
  }
  ::freeaddrinfo(found);
  if (fd < 0)
    return broken("no token server's API answers at " + address + ": " + std::strerror(why) +
                  "; --api names another");
  return fd;
}

net::Result<std::string> read_token(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path);
  std::string token;
  if (!std::getline(file, token))
    return broken(path + ": the token cannot be read: " + std::strerror(errno));
  while (!token.empty() && (token.back() == '\r' || token.back() == ' '))
    token.pop_back();
  const bool clean =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (token.empty() || token.size() > kTokenBytesMax || !clean)
    return broken(path + ": its first line is no token");
  return token;
}

// Bytes to the server and back, in the clear or not.
class ApiWire {
 public:
  explicit ApiWire(int fd) noexcept : fd_(fd) {}

  net::Result<bool> secure(const Place& place, const ApiOptions& options) {
    net::TlsOptions tls;
    tls.ca_file = options.ca_file;
    const auto context = net::load_tls(tls, net::TlsRole::client);
    if (!context) return context.error();
    auto opened = net::TlsClient::open(fd_, *context, place.host, std::chrono::seconds(kTimeoutS));
    if (!opened) {
      std::string why = options.address + ": " + opened.error().text;
      if (why.find("certificate") != why.npos && options.ca_file.empty())
        why += "; --api-ca names the authority that signed it";
      return broken(std::move(why));
    }
    tls_ = std::move(*opened);
    return true;
  }
  std::string send(std::string_view bytes) {
    if (tls_) return tls_->send(bytes);
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return std::strerror(errno);
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
  }
  // 0: the end.
  net::Result<std::size_t> receive(std::span<char> buffer) {
    if (tls_) return tls_->receive(buffer);
    for (;;) {
      const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) return broken(std::strerror(errno));
    }
  }

 private:
  int fd_;
  std::unique_ptr<net::TlsClient> tls_;
};

// "HTTP/1.1 200 OK" and headers, then the body. With 'Connection: close' the end is the end.
net::Result<ApiAnswer> parse_answer(const std::string& bytes, const std::string& address) {
  const std::size_t end = bytes.find("\r\n\r\n");
  constexpr std::size_t kStatusAt = 9;
  ApiAnswer answer;
  const bool http = bytes.starts_with("HTTP/1.") && end != bytes.npos && end > kStatusAt + 3;
  if (!http ||
      std::from_chars(bytes.data() + kStatusAt, bytes.data() + kStatusAt + 3, answer.status).ec !=
          std::errc{})
    return broken("what answers at " + address + " is no token server's API");
  answer.body = bytes.substr(end + 4);
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  const std::size_t at = bytes.find(kLength);
  std::size_t length = answer.body.size();
  if (at < end)
    (void)std::from_chars(bytes.data() + at + kLength.size(), bytes.data() + end, length);
  if (answer.body.size() < length) return broken(address + ": the answer was cut short");
  return answer;
}

}  // namespace

std::string percent_encode(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

net::Result<ApiAnswer> call_api(const ApiOptions& options, const ApiRequest& request) {
  const auto place = place_of(options.address);
  if (!place) return place.error();
  if (!place->secure && !options.ca_file.empty())
    return broken("--api-ca goes with an address that begins with https://, and '" +
                  options.address + "' does not");
  const auto token = read_token(options.token_file);
  if (!token) return token.error();
  const auto connected = connect_to(*place, options.address);
  if (!connected) return connected.error();
  const Socket socket(*connected);
  const bool v6 = place->host.find(':') != std::string::npos;
  std::string bytes = request.method + " " + request.target +
                      " HTTP/1.1\r\nHost: " + (v6 ? "[" + place->host + "]" : place->host) + ":" +
                      place->port + "\r\nConnection: close\r\n";
  if (!token->empty()) bytes += "Authorization: Bearer " + *token + "\r\n";
  if (!request.idempotency_key.empty())
    bytes += "Idempotency-Key: " + request.idempotency_key + "\r\n";
  if (request.method != "GET")
    bytes +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(request.body.size()) +
        "\r\n";
  bytes += "\r\n" + request.body;
  ApiWire line(socket.fd());
  if (place->secure)
    if (const auto secured = line.secure(*place, options); !secured) return secured.error();
  if (const std::string why = line.send(bytes); !why.empty())
    return broken(options.address + ": " + why);
  std::string answer;
  std::array<char, 65'536> chunk{};
  while (answer.size() <= kApiAnswerBytesMax) {
    const auto got = line.receive(chunk);
    if (!got) return broken(options.address + ": " + got.error().text);
    if (*got == 0) return parse_answer(answer, options.address);
    answer.append(chunk.data(), *got);
  }
  return broken(options.address + ": the answer is too large");
}

}  // namespace weir::cli
