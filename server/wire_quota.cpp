#include "server/wire_quota.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "server/wire_parts.h"

namespace weir::server {
namespace {

using lease::Units;

// In the order of lease::QuotaOutcome.
constexpr std::array<v1::QuotaOutcome, 11> kOutcomes{
    v1::QUOTA_OUTCOME_HEARD,     v1::QUOTA_OUTCOME_GRANTED,      v1::QUOTA_OUTCOME_PARTIAL,
    v1::QUOTA_OUTCOME_EXHAUSTED, v1::QUOTA_OUTCOME_RATE_LIMITED, v1::QUOTA_OUTCOME_SUSPENDED,
    v1::QUOTA_OUTCOME_EXPIRED,   v1::QUOTA_OUTCOME_UNKNOWN_KEY,  v1::QUOTA_OUTCOME_BUSY,
    v1::QUOTA_OUTCOME_SETTLED,   v1::QUOTA_OUTCOME_BAD};
static_assert(kOutcomes.size() == static_cast<std::size_t>(lease::QuotaOutcome::bad) + 1);

Units units(std::uint64_t value) noexcept {
  return static_cast<Units>(std::min(value, static_cast<std::uint64_t>(lease::kUnitsMax)));
}
std::int64_t time_ms(std::uint64_t value) noexcept {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 53;
  return static_cast<std::int64_t>(std::min(value, kMost));
}

template <class Message>
void add_key(const std::string& joined, Message& message) {
  const auto [name, key] = lease::split_quota_key(joined);
  message.add_quota_name(name.data(), name.size());
  message.add_quota_key(key.data(), key.size());
}
template <class Message>
std::string key_of(const Message& message, int row) {
  return lease::quota_key(message.quota_name(row), message.quota_key(row));
}

// Whether the counts add up to what there is.
template <class Column>
bool add_up(const Column& counts, int rows) noexcept {
  std::uint64_t sum = 0;
  for (const std::uint32_t count : counts)
    sum += count;
  return sum == static_cast<std::uint64_t>(rows);
}

lease::QuotaOutcome outcome_of(std::uint32_t value) noexcept {
  const auto at = std::find(kOutcomes.begin(), kOutcomes.end(), static_cast<int>(value));
  return at == kOutcomes.end() ? lease::QuotaOutcome::busy
                               : static_cast<lease::QuotaOutcome>(at - kOutcomes.begin());
}

}  // namespace

void add_to_wire(const lease::QuotaAsk& ask, v1::QuotaAsks& message) {
  add_key(ask.key, message);
  message.add_ask_no(ask.ask_no);
  message.add_seq(ask.seq);
  message.add_done_seq(ask.done_seq);
  message.add_need(to_bits(ask.need));
  message.add_per_s(to_bits(ask.per_s));
  message.add_refund_gen(ask.refund_gen);
  message.add_refunded_total(to_bits(ask.refunded_total));
  message.add_chunks(static_cast<std::uint32_t>(ask.chunks.size()));
  for (const lease::ChunkReport& chunk : ask.chunks) {
    message.add_chunk_seq(chunk.seq);
    message.add_chunk_gen(chunk.gen);
    message.add_chunk_granted(to_bits(chunk.granted));
    message.add_chunk_spent(to_bits(chunk.spent));
    message.add_chunk_returned(chunk.returned ? 1 : 0);
  }
}

bool from_wire(const v1::QuotaAsks& message, std::vector<lease::QuotaAsk>& asks) {
  const int rows = message.quota_name_size();
  const int chunks = message.chunk_seq_size();
  if (!all_have(rows, message.quota_key(), message.ask_no(), message.seq(), message.done_seq(),
                message.need(), message.per_s(), message.refund_gen(), message.refunded_total(),
                message.chunks()) ||
      !all_have(chunks, message.chunk_gen(), message.chunk_granted(), message.chunk_spent(),
                message.chunk_returned()) ||
      !add_up(message.chunks(), chunks))
    return false;
  asks.clear();
  asks.resize(static_cast<std::size_t>(rows));
  int at = 0;
  for (int i = 0; i < rows; ++i) {
    lease::QuotaAsk& ask = asks[static_cast<std::size_t>(i)];
    ask.key = key_of(message, i);
    ask.ask_no = message.ask_no(i);
    ask.seq = message.seq(i);
    ask.done_seq = message.done_seq(i);
    ask.need = units(message.need(i));
    ask.per_s = units(message.per_s(i));
    ask.refund_gen = message.refund_gen(i);
    ask.refunded_total = units(message.refunded_total(i));
    for (std::uint32_t k = 0; k < message.chunks(i); ++k, ++at)
      ask.chunks.push_back({message.chunk_seq(at), message.chunk_gen(at),
                            units(message.chunk_granted(at)), units(message.chunk_spent(at)),
                            message.chunk_returned(at) != 0});
  }
  return true;
}

void add_to_wire(const lease::QuotaReply& reply, v1::QuotaReplies& message) {
  add_key(reply.key, message);
  message.add_ask_no(reply.ask_no);
  message.add_seq(reply.seq);
  message.add_outcome(
      static_cast<std::uint32_t>(kOutcomes[static_cast<std::size_t>(reply.outcome)]));
  message.add_gen(reply.gen);
  message.add_granted(to_bits(reply.granted));
  message.add_remaining(to_bits(reply.remaining));
  message.add_valid_ms(to_bits(reply.valid_ms));
  message.add_retry_ms(to_bits(reply.retry_ms));
  message.add_give_back(reply.give_back ? 1 : 0);
  message.add_closed(static_cast<std::uint32_t>(reply.closed.size()));
  message.add_stop(static_cast<std::uint32_t>(reply.stop.size()));
  for (const std::uint64_t seq : reply.closed)
    message.add_closed_seq(seq);
  for (const std::uint64_t seq : reply.stop)
    message.add_stop_seq(seq);
}

bool from_wire(const v1::QuotaReplies& message, std::vector<lease::QuotaReply>& replies) {
  const int rows = message.quota_name_size();
  if (!all_have(rows, message.quota_key(), message.ask_no(), message.seq(), message.outcome(),
                message.gen(), message.granted(), message.remaining(), message.valid_ms(),
                message.retry_ms(), message.give_back(), message.closed(), message.stop()) ||
      !add_up(message.closed(), message.closed_seq_size()) ||
      !add_up(message.stop(), message.stop_seq_size()))
    return false;
  replies.clear();
  replies.resize(static_cast<std::size_t>(rows));
  auto closed = message.closed_seq().begin();
  auto stop = message.stop_seq().begin();
  for (int i = 0; i < rows; ++i) {
    lease::QuotaReply& reply = replies[static_cast<std::size_t>(i)];
    reply.key = key_of(message, i);
    reply.ask_no = message.ask_no(i);
    reply.seq = message.seq(i);
    reply.outcome = outcome_of(message.outcome(i));
    reply.gen = message.gen(i);
    reply.granted = units(message.granted(i));
    reply.remaining = units(message.remaining(i));
    reply.valid_ms = time_ms(message.valid_ms(i));
    reply.retry_ms = time_ms(message.retry_ms(i));
    reply.give_back = message.give_back(i) != 0;
    reply.closed.assign(closed, closed + message.closed(i));
    closed += message.closed(i);
    reply.stop.assign(stop, stop + message.stop(i));
    stop += message.stop(i);
  }
  return true;
}

void add_to_wire(const lease::QuotaPoke& poke, v1::QuotaPokes& message) {
  add_key(poke.key, message);
}

bool from_wire(const v1::QuotaPokes& message, std::vector<lease::QuotaPoke>& pokes) {
  const int rows = message.quota_name_size();
  if (!all_have(rows, message.quota_key())) return false;
  pokes.clear();
  for (int i = 0; i < rows; ++i)
    pokes.push_back({0, key_of(message, i)});
  return true;
}

void add_to_wire(const std::string& key, const lease::QuotaEvent& event, v1::QuotaUsage& message) {
  add_key(key, message);
  message.add_amount(to_bits(event.amount));
  message.add_refund(event.action == lease::QuotaAction::refund ? 1 : 0);
  message.add_process(event.process);
  message.add_uid(event.uid);
  message.add_outcome(event.outcome);
  message.add_left(to_bits(event.left));
  message.add_at_wall_ms(to_bits(event.at_wall_ms));
}

bool from_wire(const v1::QuotaUsage& message, std::vector<QuotaUsageRow>& rows) {
  const int count = message.quota_name_size();
  if (!all_have(count, message.quota_key(), message.amount(), message.refund(), message.process(),
                message.uid(), message.outcome(), message.left(), message.at_wall_ms()))
    return false;
  rows.clear();
  rows.resize(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    QuotaUsageRow& row = rows[static_cast<std::size_t>(i)];
    row.key = key_of(message, i);
    row.event.action =
        message.refund(i) != 0 ? lease::QuotaAction::refund : lease::QuotaAction::consume;
    row.event.amount = units(message.amount(i));
    row.event.process = message.process(i);
    row.event.uid = message.uid(i);
    row.event.outcome = message.outcome(i);
    row.event.left = units(message.left(i));
    row.event.at_wall_ms = time_ms(message.at_wall_ms(i));
  }
  return true;
}

}  // namespace weir::server
