#include "server/wire.h"

#include <algorithm>
#include <cstdint>

#include "server/wire_parts.h"

namespace weir::server {
namespace {

using lease::Micro;
using lease::TimeNs;

constexpr std::uint64_t kTimeNsMax = std::uint64_t{1} << 62;

template <class Number>
class ColumnWriter {
 public:
  ColumnWriter(google::protobuf::RepeatedField<Number>* column, std::size_t rows) {
    column->Resize(static_cast<int>(rows), 0);
    at_ = column->mutable_data();
  }
  void add(Micro amount) noexcept { *at_++ = static_cast<Number>(std::max<Micro>(0, amount)); }
  void add_bits(Number bits) noexcept { *at_++ = bits; }

 private:
  Number* at_;
};
using Column64 = ColumnWriter<std::uint64_t>;

Micro amount(std::uint64_t value) noexcept {
  return static_cast<Micro>(std::min(value, static_cast<std::uint64_t>(lease::kMicroMax)));
}
TimeNs time_ns(std::uint64_t value) noexcept {
  return static_cast<TimeNs>(std::min(value, kTimeNsMax));
}

}  // namespace

void to_wire(const lease::Hello& hello, v1::Hello& message) {
  message.set_host(hello.host);
  message.set_agent_epoch(hello.agent_epoch);
  message.set_hello_no(hello.hello_no);
  message.set_prev_session(hello.prev_session);
  message.set_epoch_seen(hello.epoch_seen);
  message.set_accepted_seq(hello.accepted_seq);
  const std::size_t rows = hello.claims.size();
  Column64 limit(message.mutable_claim_limit(), rows);
  Column64 rate(message.mutable_claim_rate(), rows);
  Column64 burst(message.mutable_claim_burst(), rows);
  Column64 tail_rate(message.mutable_claim_tail_rate(), rows);
  Column64 tail_burst(message.mutable_claim_tail_burst(), rows);
  Column64 proof(message.mutable_claim_proof(), rows);
  Column64 granted_rate(message.mutable_claim_granted_rate(), rows);
  Column64 granted_burst(message.mutable_claim_granted_burst(), rows);
  Column64 granted_tail_rate(message.mutable_claim_granted_tail_rate(), rows);
  Column64 granted_tail_burst(message.mutable_claim_granted_tail_burst(), rows);
  for (const lease::Claim& claim : hello.claims) {
    limit.add_bits(claim.limit);
    rate.add(claim.terms.rate);
    burst.add(claim.terms.burst);
    tail_rate.add(claim.terms.tail_rate);
    tail_burst.add(claim.terms.tail_burst);
    proof.add_bits(claim.proof);
    granted_rate.add(claim.granted.rate);
    granted_burst.add(claim.granted.burst);
    granted_tail_rate.add(claim.granted.tail_rate);
    granted_tail_burst.add(claim.granted.tail_burst);
  }
}

bool from_wire(const v1::Hello& message, lease::Hello& hello) {
  const int rows = message.claim_limit_size();
  if (!all_have(rows, message.claim_rate(), message.claim_burst(), message.claim_tail_rate(),
                message.claim_tail_burst(), message.claim_proof(), message.claim_granted_rate(),
                message.claim_granted_burst(), message.claim_granted_tail_rate(),
                message.claim_granted_tail_burst()))
    return false;
  hello.host = message.host();
  hello.agent_epoch = message.agent_epoch();
  hello.hello_no = message.hello_no();
  hello.prev_session = message.prev_session();
  hello.epoch_seen = message.epoch_seen();
  hello.accepted_seq = message.accepted_seq();
  hello.claims.resize(static_cast<std::size_t>(rows));
  for (int i = 0; i < rows; ++i) {
    lease::Claim& claim = hello.claims[static_cast<std::size_t>(i)];
    claim.limit = message.claim_limit(i);
    claim.terms = {amount(message.claim_rate(i)), amount(message.claim_burst(i)),
                   amount(message.claim_tail_rate(i)), amount(message.claim_tail_burst(i))};
    claim.proof = message.claim_proof(i);
    claim.granted = {amount(message.claim_granted_rate(i)), amount(message.claim_granted_burst(i)),
                     amount(message.claim_granted_tail_rate(i)),
                     amount(message.claim_granted_tail_burst(i))};
  }
  return true;
}

void to_wire(const lease::Request& request, v1::Request& message) {
  message.set_session(request.session);
  message.set_seq(request.seq);
  message.set_accepted_seq(request.accepted_seq);
  const std::size_t rows = request.wants.size();
  Column64 limit(message.mutable_limit(), rows);
  Column64 rate(message.mutable_rate(), rows);
  Column64 need(message.mutable_need(), rows);
  Column64 returned(message.mutable_returned(), rows);
  Column64 keep_rate(message.mutable_keep_rate(), rows);
  Column64 keep_burst(message.mutable_keep_burst(), rows);
  Column64 spent(message.mutable_spent_total(), rows);
  Column64 refused(message.mutable_refused_total(), rows);
  constexpr auto kTotalMax = static_cast<std::uint64_t>(lease::kMicroMax);
  for (const lease::Want& want : request.wants) {
    limit.add_bits(want.limit);
    rate.add(want.rate);
    need.add(want.need);
    returned.add(want.returned);
    keep_rate.add(want.keep_rate);
    keep_burst.add(want.keep_burst);
    spent.add_bits(std::min(want.spent_total, kTotalMax));
    refused.add_bits(std::min(want.refused_total, kTotalMax));
  }
}

bool from_wire(const v1::Request& message, lease::Request& request) {
  const int rows = message.limit_size();
  if (!all_have(rows, message.rate(), message.need(), message.returned(), message.keep_rate(),
                message.keep_burst(), message.spent_total(), message.refused_total()))
    return false;
  request.session = message.session();
  request.seq = message.seq();
  request.accepted_seq = message.accepted_seq();
  request.wants.resize(static_cast<std::size_t>(rows));
  const std::uint64_t* limit = message.limit().data();
  const std::uint64_t* rate = message.rate().data();
  const std::uint64_t* need = message.need().data();
  const std::uint64_t* returned = message.returned().data();
  const std::uint64_t* keep_rate = message.keep_rate().data();
  const std::uint64_t* keep_burst = message.keep_burst().data();
  const std::uint64_t* spent = message.spent_total().data();
  const std::uint64_t* refused = message.refused_total().data();
  for (lease::Want& want : request.wants) {
    want.limit = *limit++;
    want.rate = amount(*rate++);
    want.need = amount(*need++);
    want.returned = amount(*returned++);
    want.keep_rate = amount(*keep_rate++);
    want.keep_burst = amount(*keep_burst++);
    want.spent_total = *spent++;
    want.refused_total = *refused++;
  }
  return true;
}

void to_wire(const lease::Ack& ack, v1::Ack& message) {
  message.set_session(ack.session);
  message.set_seq(ack.seq);
}
void from_wire(const v1::Ack& message, lease::Ack& ack) {
  ack = {message.session(), message.seq()};
}

void to_wire(const lease::Goodbye& goodbye, v1::Goodbye& message) {
  message.set_session(goodbye.session);
}
void from_wire(const v1::Goodbye& message, lease::Goodbye& goodbye) {
  goodbye.session = message.session();
}

void to_wire(const lease::Poke& poke, v1::Poke& message) { message.set_session(poke.session); }
void from_wire(const v1::Poke& message, lease::Poke& poke) { poke.session = message.session(); }

void to_wire(const lease::Welcome& welcome, v1::Welcome& message) {
  message.set_hello_no(welcome.hello_no);
  message.set_session(welcome.session);
  message.set_epoch(welcome.epoch);
  message.set_new_identity(welcome.new_identity);
  message.set_learning(welcome.learning);
  Column64 withdraw(message.mutable_withdraw(), welcome.withdraw.size());
  for (const lease::LimitId limit : welcome.withdraw)
    withdraw.add_bits(limit);
}

void from_wire(const v1::Welcome& message, lease::Welcome& welcome) {
  welcome.hello_no = message.hello_no();
  welcome.session = message.session();
  welcome.epoch = message.epoch();
  welcome.new_identity = message.new_identity();
  welcome.learning = message.learning();
  welcome.withdraw.assign(message.withdraw().begin(), message.withdraw().end());
}

void to_wire(const lease::Answer& answer, v1::Answer& message) {
  message.set_session(answer.session);
  message.set_epoch(answer.epoch);
  message.set_seq(answer.seq);
  message.set_ttl_ns(to_bits(answer.ttl_ns));
  message.set_tail_ns(to_bits(answer.tail_ns));
  message.set_refresh_ns(to_bits(answer.refresh_ns));
  message.set_busy(answer.busy);
  const std::size_t rows = answer.grants.size();
  message.set_server_ns(to_bits(answer.server_ns));
  message.set_learning(answer.learning);
  Column64 limit(message.mutable_limit(), rows);
  Column64 rate(message.mutable_rate(), rows);
  Column64 burst(message.mutable_burst(), rows);
  Column64 tail_rate(message.mutable_tail_rate(), rows);
  Column64 tail_burst(message.mutable_tail_burst(), rows);
  Column64 fill(message.mutable_fill(), rows);
  Column64 proof(message.mutable_proof(), rows);
  ColumnWriter<std::uint32_t> hosts(message.mutable_hosts(), rows);
  for (const lease::Grant& grant : answer.grants) {
    limit.add_bits(grant.limit);
    rate.add(grant.terms.rate);
    burst.add(grant.terms.burst);
    tail_rate.add(grant.terms.tail_rate);
    tail_burst.add(grant.terms.tail_burst);
    fill.add(grant.fill);
    proof.add_bits(grant.proof);
    hosts.add_bits(grant.hosts);
  }
}

bool from_wire(const v1::Answer& message, lease::Answer& answer) {
  const int rows = message.limit_size();
  if (!all_have(rows, message.rate(), message.burst(), message.tail_rate(), message.tail_burst(),
                message.fill(), message.proof(), message.hosts()))
    return false;
  answer.session = message.session();
  answer.epoch = message.epoch();
  answer.seq = message.seq();
  answer.ttl_ns = time_ns(message.ttl_ns());
  answer.tail_ns = time_ns(message.tail_ns());
  answer.refresh_ns = time_ns(message.refresh_ns());
  answer.server_ns = time_ns(message.server_ns());
  answer.learning = message.learning();
  answer.busy = message.busy();
  answer.grants.resize(static_cast<std::size_t>(rows));
  for (int i = 0; i < rows; ++i) {
    lease::Grant& grant = answer.grants[static_cast<std::size_t>(i)];
    grant.limit = message.limit(i);
    grant.terms = {amount(message.rate(i)), amount(message.burst(i)), amount(message.tail_rate(i)),
                   amount(message.tail_burst(i))};
    grant.fill = amount(message.fill(i));
    grant.proof = message.proof(i);
    grant.hosts = message.hosts(i);
  }
  return true;
}

}  // namespace weir::server
