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
#include <cstring>
#include <fstream>

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
};

net::Result<Place> place_of(std::string_view address) {
  constexpr std::string_view kHttp = "http://";
  if (address.starts_with("https://"))
    return broken(
        "the API speaks plain HTTP; a proxy in front of it that speaks TLS is for others");
  if (address.starts_with(kHttp)) address.remove_prefix(kHttp.size());
  while (address.ends_with('/'))
    address.remove_suffix(1);
  const std::size_t colon = address.rfind(':');
  if (colon == address.npos || colon == 0 || colon + 1 == address.size())
    return broken("'" + std::string(address) + "' is no address of the API, such as " +
                  kDefaultApi);
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return Place{std::string(host), std::string(address.substr(colon + 1))};
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
  for (std::string_view rest = bytes; !rest.empty();) {
    const ssize_t sent = ::send(socket.fd(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent <= 0) return broken(options.address + ": " + std::strerror(errno));
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  std::string answer;
  std::array<char, 65'536> chunk{};
  while (answer.size() <= kApiAnswerBytesMax) {
    const ssize_t got = ::recv(socket.fd(), chunk.data(), chunk.size(), 0);
    if (got == 0) return parse_answer(answer, options.address);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return broken(options.address + ": " + std::strerror(errno));
    answer.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return broken(options.address + ": the answer is too large");
}

}  // namespace weir::cli
