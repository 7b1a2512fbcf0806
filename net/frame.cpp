#include "net/frame.h"

#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <utility>

namespace weir::net {

namespace {

// The length at the front of `bytes`, once it is there.
std::optional<std::uint32_t> announced(std::string_view bytes) noexcept {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  std::uint32_t length = 0;
  for (unsigned i = 0; i < kFrameHeaderBytes; ++i)
    length |= std::uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return length;
}

}  // namespace

std::string encode_frame(const google::protobuf::MessageLite& message) {
  const std::size_t payload_bytes = message.ByteSizeLong();
  if (payload_bytes > kFrameBytesMax) return {};
  std::string frame;
  frame.reserve(kFrameHeaderBytes + payload_bytes);
  for (unsigned shift = 0; shift < 32; shift += 8)
    frame.push_back(static_cast<char>((payload_bytes >> shift) & 0xff));
  if (!message.AppendPartialToString(&frame)) return {};
  return frame;
}

bool decode_payload(std::string_view payload, google::protobuf::MessageLite& message) {
  if (payload.size() > kFrameBytesMax) return false;
  return message.ParseFromArray(payload.data(), static_cast<int>(payload.size()));
}

bool FrameReader::push(std::string_view bytes) {
  if (failed()) return false;
  const std::size_t room_bytes = kFrameHeaderBytes + payload_bytes_max_ + kReadChunkBytes;
  if (bytes.size() > room_bytes - std::min(room_bytes, buffered_bytes())) {
    fail("more bytes were pushed than one frame and one chunk");
    return false;
  }
  buffer_.erase(0, std::exchange(read_offset_, 0));
  buffer_.append(bytes);
  // The bound is checked as soon as the length is known, so that nobody collects a frame that
  // will never be accepted.
  const auto length = announced(buffer_);
  return !length || !too_long(*length);
}

std::optional<std::string_view> FrameReader::next() {
  if (failed()) return std::nullopt;
  const std::string_view all = std::string_view(buffer_).substr(read_offset_);
  const auto length = announced(all);
  if (!length || too_long(*length)) return std::nullopt;
  if (all.size() - kFrameHeaderBytes < *length) return std::nullopt;
  read_offset_ += kFrameHeaderBytes + *length;
  return all.substr(kFrameHeaderBytes, *length);
}

std::optional<std::string_view> FrameReader::next(std::string_view& bytes) {
  if (!in_frame() && !failed()) {
    const auto length = announced(bytes);
    if (length && *length <= payload_bytes_max_ && bytes.size() - kFrameHeaderBytes >= *length) {
      const std::string_view payload = bytes.substr(kFrameHeaderBytes, *length);
      bytes.remove_prefix(kFrameHeaderBytes + *length);
      return payload;
    }
  }
  if (!bytes.empty()) (void)push(std::exchange(bytes, {}));
  return next();
}

bool FrameReader::too_long(std::uint32_t length) {
  if (length <= payload_bytes_max_) return false;
  fail("a frame of " + std::to_string(length) + " bytes was announced; the most is " +
       std::to_string(payload_bytes_max_));
  return true;
}

void FrameReader::fail(std::string why) {
  error_ = std::move(why);
  std::string{}.swap(buffer_);
  read_offset_ = 0;
}

}  // namespace weir::net
