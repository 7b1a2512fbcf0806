#include "daemon/http/message.h"

#include <algorithm>
#include <optional>

#include "daemon/http/host_guard.h"

namespace weir {
namespace {

std::optional<unsigned> hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return std::nullopt;
}

// A '%' that begins no escape stands for itself.
std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const auto high = hex_digit(text[i + 1]);
      const auto low = hex_digit(text[i + 2]);
      if (high && low) {
        out += static_cast<char>(*high * 16 + *low);
        i += 2;
        continue;
      }
    }
    out += text[i] == '+' ? ' ' : text[i];
  }
  return out;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const noexcept {
  const auto found = std::find_if(headers.begin(), headers.end(), [name](const auto& entry) {
    return equal_ignoring_case(entry.first, name);
  });
  return found == headers.end() ? std::string_view{} : std::string_view{found->second};
}

std::string HttpRequest::query_value(std::string_view key) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (percent_decode(pair.substr(0, equals)) != key) continue;
    return percent_decode(pair.substr(std::min(equals + 1, pair.size())));
  }
  return {};
}

HttpResponse text_response(unsigned status, std::string_view text) {
  HttpResponse response;
  response.status = status;
  response.body = text;
  response.body += '\n';
  return response;
}

void HttpRoutes::add(std::string_view method, std::string_view path, HttpHandler handler) {
  routes_.push_back({std::string(method), std::string(path), std::move(handler)});
}

HttpResponse HttpRoutes::operator()(const HttpRequest& request) const {
  std::string allow;
  for (const Route& route : routes_) {
    if (route.path != request.path) continue;
    if (route.method == request.method) return route.handler(request);
    if (!allow.empty()) allow += ", ";
    allow += route.method == "GET" ? "GET, HEAD" : route.method;
  }
  if (allow.empty()) return text_response(404, "not found");
  HttpResponse response = text_response(405, "method not allowed");
  response.headers.emplace_back("Allow", std::move(allow));
  return response;
}

}  // namespace weir
