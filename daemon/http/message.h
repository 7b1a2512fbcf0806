// Requests and answers as a handler sees them, and the table that finds the handler.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET"; a HEAD request comes as GET, and the server leaves out the body
  std::string path;    // "/metrics", as sent: still percent-encoded
  std::string query;   // "a=b", without the '?'
  HttpHeaders headers;
  std::string body = {};
  std::string peer;  // "127.0.0.1:40312"
  bool head = false;

  // The first header of this name, in any case of letters; empty when there is none.
  std::string_view header(std::string_view name) const noexcept;
  // The value of `key` in the query, percent-decoded; empty when it is not there.
  std::string query_value(std::string_view key) const;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
  HttpHeaders headers = {};  // further ones; a malformed name or value is left out
};

// What a handler throws becomes a 500 that says nothing of it.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// For what has to wait: the answer may come later, on the server's thread, and once; further ones
// count for nothing. When the function is dropped without a call, the connection is closed.
using HttpRespond = std::function<void(HttpResponse)>;
using HttpAsyncHandler = std::function<void(const HttpRequest&, HttpRespond)>;

HttpResponse text_response(unsigned status, std::string_view text);  // adds the newline

// Exact paths. Unknown ones are 404, known ones with another method 405 with Allow.
//
//     HttpRoutes routes;
//     routes.add("GET", "/healthz", [](const HttpRequest&) { return text_response(200, "ok"); });
//     HttpServer server(io, options, std::move(routes));
class HttpRoutes {
 public:
  void add(std::string_view method, std::string_view path, HttpHandler handler);
  HttpResponse operator()(const HttpRequest& request) const;

 private:
  struct Route {
    std::string method;
    std::string path;
    HttpHandler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace weir
