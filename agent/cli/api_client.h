// One request to a token server's HTTP API, and its answer. Blocking, with a deadline.
#pragma once

#include <string>
#include <string_view>

#include "net/result.h"

namespace weir::cli {

inline constexpr const char* kDefaultApi = "127.0.0.1:9466";
inline constexpr std::size_t kApiAnswerBytesMax = 64U << 20;

struct ApiOptions {
  std::string address = kDefaultApi;  // host:port, http://host:port or https://host:port
  std::string token_file;             // its first line is the token
  // Of https: who signed the server's certificate; empty: whom the system trusts. Without https://
  // in the address it is an error, so that nobody sends a token in clear text by mistake.
  std::string ca_file;
};

struct ApiRequest {
  std::string method = "GET";
  std::string target;  // "/v1/status?a=b", encoded
  std::string body = {};
  std::string idempotency_key = {};
};

struct ApiAnswer {
  unsigned status = 0;
  std::string body;
};

// An error names what could not be reached, or read.
net::Result<ApiAnswer> call_api(const ApiOptions& options, const ApiRequest& request);

// Everything but letters, digits and - . _ ~ as %XX.
std::string percent_encode(std::string_view text);

}  // namespace weir::cli
