#include "sim/message.h"

#include <sstream>

#include "sim/oracle.h"

namespace weir::sim {
namespace {

void put(std::ostream& out, const lease::Terms& terms) {
  out << tokens(terms.rate) << "/s burst " << tokens(terms.burst) << " tail "
      << tokens(terms.tail_rate) << "/" << tokens(terms.tail_burst);
}

void put(std::ostream& out, const lease::Hello& hello) {
  out << "hello no " << hello.hello_no << " identity " << hello.agent_epoch % 10'000 << " after "
      << hello.prev_session % 10'000 << "." << hello.accepted_seq;
  for (const lease::Claim& claim : hello.claims) {
    out << " [claims ";
    put(out, claim.terms);
    out << "]";
  }
}
void put(std::ostream& out, const lease::Welcome& welcome) {
  out << "welcome session " << welcome.session % 10'000 << " epoch " << welcome.epoch;
  if (welcome.new_identity) out << " NEW IDENTITY";
  if (welcome.learning) out << " learning";
  if (!welcome.withdraw.empty()) out << " withdraw " << welcome.withdraw.size();
}
void put(std::ostream& out, const lease::Request& request) {
  out << "request " << request.session % 10'000 << "." << request.seq << " took "
      << request.accepted_seq;
  for (const lease::Want& want : request.wants) {
    out << " [wants " << tokens(want.rate);
    if (want.need > 0) out << " needs " << tokens(want.need);
    if (want.returned > 0) out << " returns " << tokens(want.returned);
    out << " keeps " << tokens(want.keep_rate) << "/" << tokens(want.keep_burst) << "]";
  }
}
void put(std::ostream& out, const lease::Answer& answer) {
  out << "answer " << answer.session % 10'000 << "." << answer.seq << (answer.busy ? " BUSY" : "");
  for (const lease::Grant& grant : answer.grants) {
    out << " [";
    put(out, grant.terms);
    if (grant.fill > 0) out << " fill " << tokens(grant.fill);
    out << "]";
  }
}
void put(std::ostream& out, const lease::Ack& ack) {
  out << "ack " << ack.session % 10'000 << "." << ack.seq;
}
void put(std::ostream& out, const lease::Poke& poke) { out << "poke " << poke.session % 10'000; }
void put(std::ostream& out, const lease::Goodbye& goodbye) {
  out << "goodbye " << goodbye.session % 10'000;
}
void put(std::ostream& out, const Closed&) { out << "closed"; }

}  // namespace

std::string describe(const Message& message) {
  std::ostringstream out;
  std::visit([&](const auto& one) { put(out, one); }, message);
  return out.str();
}

}  // namespace weir::sim
