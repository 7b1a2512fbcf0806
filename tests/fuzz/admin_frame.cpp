// Bytes from whoever connects to the admin socket, in whatever pieces they come.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "net/frame.h"
#include "weir/v1/admin.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::size_t piece = data[0] + 1U;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  weir::net::FrameReader reader;
  while (!rest.empty() && !reader.failed()) {
    const std::string_view now = rest.substr(0, piece);
    rest.remove_prefix(now.size());
    if (!reader.push(now)) break;
    while (const auto payload = reader.next()) {
      weir::v1::AdminRequest request;
      if (weir::net::decode_payload(*payload, request)) (void)weir::net::encode_frame(request);
    }
  }
  return 0;
}
