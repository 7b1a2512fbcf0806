// Bytes from whoever reaches a server's port, or poses as a server, in whatever pieces they come.
// The first byte says how large the pieces are, the second which end reads them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/frame.h"
#include "net/lease_wire.h"

namespace {

using namespace weir;

// What is accepted keeps its promises, and says the same when it is sent again.
template <class Message>
void take(std::string_view payload, Message& message) {
  const net::Complaint complaint = net::decode(payload, message);
  if (complaint) {
    if (!net::is_clean_text(complaint.text)) std::abort();
    return;
  }
  if ((net::kind_of(message) == decltype(net::kind_of(message)){}) != net::is_newer(message))
    std::abort();
  std::string again;
  if (!net::append_frame(again, message)) std::abort();
  Message second;
  if (net::decode(std::string_view(again).substr(net::kFrameHeaderBytes), second)) std::abort();
  if (net::kind_of(second) != net::kind_of(message)) std::abort();
}

void promises(const v1::ToServer& message) {
  const v1::Request& request = message.request();
  const int rows = request.limit_size();
  if (rows > net::kRowsMax || request.rate_size() != rows || request.refused_total_size() != rows)
    std::abort();
  for (const std::uint64_t rate : request.rate())
    if (rate > net::kMicroMax) std::abort();
  if (message.has_hello() && message.hello().host().empty()) std::abort();
  const v1::PermitReports& permits = message.permit_reports();
  const int permit_rows = permits.name_size();
  if (permit_rows > net::kPermitRowsMax || permits.cap_size() != permit_rows ||
      permits.in_flight_size() != permit_rows || permits.want_size() != permit_rows)
    std::abort();
  for (const std::uint64_t cap : permits.cap())
    if (cap > net::kPermitsMax) std::abort();
}
void promises(const v1::ToAgent& message) {
  const v1::Answer& answer = message.answer();
  const int rows = answer.limit_size();
  if (rows > net::kRowsMax || answer.hosts_size() != rows || answer.fill_size() != rows)
    std::abort();
  if (message.rules().rules_size() > net::kRowsMax) std::abort();
  const v1::PermitGrants& permits = message.permit_grants();
  if (permits.name_size() > net::kPermitRowsMax || permits.cap_size() != permits.name_size() ||
      permits.hosts_size() != permits.name_size())
    std::abort();
}

template <class Message>
void read_all(std::string_view rest, std::size_t piece) {
  static Message message;  // the same one for ever, as in a link and a listener
  net::FrameReader reader(net::kLeaseFrameBytesMax);
  while (!rest.empty() && !reader.failed()) {
    const std::string_view now = rest.substr(0, piece);
    rest.remove_prefix(now.size());
    if (!reader.push(now)) break;
    while (const auto payload = reader.next()) {
      take(*payload, message);
      if (!net::check(message)) promises(message);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t piece = data[0] + 1U;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[1] % 2 == 0)
    read_all<v1::ToServer>(rest, piece);
  else
    read_all<v1::ToAgent>(rest, piece);
  return 0;
}
