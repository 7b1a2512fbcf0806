// Bytes in both directions over a connected socket, plain or TLS. For the sources of this folder:
// it brings Asio along.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "net/peer.h"
#include "net/tls.h"

namespace weir::net {

using Socket = boost::asio::generic::stream_protocol::socket;

// Each of them may close the stream; nothing is called after that.
class StreamEvents {
 public:
  virtual void on_stream_ready() = 0;  // the handshake is done, if there is one
  virtual void on_stream_bytes(std::string_view bytes) = 0;  // at most kReadChunkBytes
  virtual void on_stream_written() = 0;
  virtual void on_stream_ended(const std::string& why) = 0;  // the last call

 protected:
  ~StreamEvents() = default;
};

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Reads from here on, for as long as it is open. May call on_stream_ready() at once.
  virtual void open(StreamEvents& events) = 0;
  // Takes the bytes and leaves an empty string with the memory of an earlier one. True when all of
  // them went to the kernel at once; else on_stream_written() follows, and no other write before.
  virtual bool write(std::string& bytes) = 0;
  virtual std::size_t unsent_bytes() const noexcept = 0;
  virtual std::uint64_t written_total() const noexcept = 0;
  // The peer sees the end of the stream; what it sends still arrives.
  virtual void shutdown_send() noexcept = 0;
  virtual void close() noexcept = 0;
  virtual void fill_peer(Peer& peer) const { (void)peer; }  // what the handshake told
};

// What every stream of this thread reads into. Good until the next read.
std::span<char> read_buffer() noexcept;

std::shared_ptr<ByteStream> make_plain_stream(Socket socket);
// `host` is what was dialled; a server leaves it empty.
std::shared_ptr<ByteStream> make_tls_stream(Socket socket, std::shared_ptr<TlsContext> context,
                                            const std::string& host);

// Closed on exec; for TCP also no delay, keep-alive and a bound on unacknowledged data.
void tune_socket(Socket& socket) noexcept;
// The other end of a connected socket.
Peer peer_of(Socket& socket);

}  // namespace weir::net
