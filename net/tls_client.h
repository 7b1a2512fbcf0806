// TLS for a tool that asks and waits: over a connected socket, with a deadline for each step.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "net/result.h"
#include "net/tls.h"

namespace weir::net {

class TlsClient {
 public:
  // Shakes hands, and verifies the server as the context says. The socket stays the caller's and
  // must outlive this. `host` is what was dialled.
  static Result<std::unique_ptr<TlsClient>> open(int fd, std::shared_ptr<TlsContext> context,
                                                 const std::string& host,
                                                 std::chrono::milliseconds timeout);
  virtual ~TlsClient() = default;

  // An empty text, or why not all of it was sent.
  virtual std::string send(std::string_view bytes) = 0;
  // How many came; 0: the server has ended the stream, and said so.
  virtual Result<std::size_t> receive(std::span<char> buffer) = 0;
};

}  // namespace weir::net
