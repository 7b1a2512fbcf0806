// Messages on a byte stream: a little-endian uint32 length, then that many bytes of protobuf.
//
// The length is the peer's word. It is compared with the bound before anything is made of it, and
// memory grows with the bytes that have arrived, never with the bytes that were announced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace google::protobuf {
class MessageLite;
}

namespace weir::net {

inline constexpr std::size_t kFrameHeaderBytes = 4;
inline constexpr std::uint32_t kFrameBytesMax = 16U << 20;
inline constexpr std::size_t kReadChunkBytes = 64U << 10;

// The message with its length in front, or an empty string when it is larger than kFrameBytesMax
// (a frame itself is never empty).
std::string encode_frame(const google::protobuf::MessageLite& message);

// False when the bytes are not this message.
bool decode_payload(std::string_view payload, google::protobuf::MessageLite& message);

// Cuts a stream into payloads, however it arrives.
//
//     reader.push(bytes);
//     while (auto payload = reader.next()) handle(*payload);
//     if (reader.failed()) close_because(reader.error());
class FrameReader {
 public:
  explicit FrameReader(std::uint32_t payload_bytes_max = kFrameBytesMax) noexcept
      : payload_bytes_max_(payload_bytes_max) {}

  // At most kReadChunkBytes at a time, and next() until it is empty in between: that bounds the
  // memory at one frame and one chunk. False when the stream has failed; the bytes are dropped.
  bool push(std::string_view bytes);

  // The next whole payload (it may be empty), valid until the next call of push() or next().
  std::optional<std::string_view> next();
  // push() and next() in one, without a copy of what lies whole in `bytes`; takes what it uses off
  // their front. Empty when no whole payload is left; then all of them are used.
  std::optional<std::string_view> next(std::string_view& bytes);

  // A failed stream stays failed: where the next frame begins is no longer known.
  bool failed() const noexcept { return !error_.empty(); }
  const std::string& error() const noexcept { return error_; }
  std::size_t buffered_bytes() const noexcept { return buffer_.size() - read_offset_; }
  // Bytes of a frame have come, but not all of them.
  bool in_frame() const noexcept { return buffered_bytes() != 0; }

 private:
  bool too_long(std::uint32_t length);
  void fail(std::string why);

  std::uint32_t payload_bytes_max_;
  std::string buffer_;
  std::size_t read_offset_ = 0;
  std::string error_;
};

}  // namespace weir::net
