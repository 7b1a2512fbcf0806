// Every message is hostile until it has passed here. Fields are counted before Protobuf makes
// objects of them, and each complaint names the message, the field and the fact.
#include "net/lease_wire.h"

#include <google/protobuf/unknown_field_set.h>

#include <optional>

#include "net/frame.h"

namespace weir::net {

namespace {

// Two bytes on the wire can be an object of hundreds in memory. A true envelope has one field, and
// perhaps some that a newer program has put beside it (Protobuf merges a field that comes again);
// the message in it has at most kRowsMax rows and a few fields.
constexpr int kEnvelopeFieldsMax = 4;
constexpr int kFieldsMax = kRowsMax + 64;
constexpr std::size_t kNamesMin = 1;

// ---- counting fields

std::optional<std::uint64_t> read_varint(std::string_view& bytes) noexcept {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

bool skip(std::string_view& bytes, std::uint64_t count) noexcept {
  if (count > bytes.size()) return false;
  bytes.remove_prefix(static_cast<std::size_t>(count));
  return true;
}

// False when there are too many fields, or it is no Protobuf. Groups are older than proto3 and
// nothing of ours has them.
bool fields_are_few(std::string_view bytes, bool envelope) noexcept {
  const int most = envelope ? kEnvelopeFieldsMax : kFieldsMax;
  for (int fields = 0; !bytes.empty(); ++fields) {
    if (fields == most) return false;
    const auto tag = read_varint(bytes);
    if (!tag) return false;
    switch (*tag & 7) {
      case 0:
        if (!read_varint(bytes)) return false;
        break;
      case 1:
        if (!skip(bytes, 8)) return false;
        break;
      case 5:
        if (!skip(bytes, 4)) return false;
        break;
      case 2: {
        const auto length = read_varint(bytes);
        if (!length || *length > bytes.size()) return false;
        const std::string_view inner = bytes.substr(0, static_cast<std::size_t>(*length));
        bytes.remove_prefix(inner.size());
        if (envelope && !fields_are_few(inner, false)) return false;
        break;
      }
      default:
        return false;
    }
  }
  return true;
}

// ---- the checker

// Collects the first complaint about one message.
class Checker {
 public:
  explicit Checker(const char* message) : message_(message) {}

  template <class Column>
  void column(const char* name, const Column& column, int rows) {
    if (column.size() != rows)
      complain(name, "has " + std::to_string(column.size()) + " rows, the first column has " +
                         std::to_string(rows));
  }
  template <class Column>
  void amounts(const char* name, const Column& values, int rows) {
    column(name, values, rows);
    // One OR a value finds nearly every table good; the few with a large amount are looked through.
    std::uint64_t all = 0;
    for (const std::uint64_t value : values)
      all |= value;
    if (all <= kMicroMax) return;
    for (const std::uint64_t value : values)
      if (value > kMicroMax) return complain(name, "has an amount that is negative or above 2^60");
  }
  template <class Column>
  void units(const char* name, const Column& values, int rows, std::uint64_t most) {
    column(name, values, rows);
    for (const std::uint64_t value : values)
      if (value > most)
        return complain(name,
                        "has " + std::to_string(value) + "; the most is " + std::to_string(most));
  }
  // Names, each with at least `least` bytes.
  template <class Column>
  void names(const char* name, const Column& values, int rows, std::size_t least,
             std::size_t most) {
    column(name, values, rows);
    for (const std::string& value : values) {
      if (failed_) return;
      if (value.size() < least) complain(name, "has an empty one");
      text(name, value, most);
    }
  }
  // Each row's share of another table: as many as that has rows, and at most `most` each.
  template <class Column>
  void shares(const char* name, const Column& counts, int rows, std::uint64_t most, int of_rows) {
    units(name, counts, rows, most);
    if (failed_) return;
    std::uint64_t sum = 0;
    for (const std::uint32_t count : counts)
      sum += count;
    if (sum != static_cast<std::uint64_t>(of_rows))
      complain(name,
               "says " + std::to_string(sum) + " rows, and there are " + std::to_string(of_rows));
  }
  void rows(const char* name, int rows, int most) {
    if (rows > most)
      complain(name, "has " + std::to_string(rows) + " rows; the most is " + std::to_string(most));
  }
  void amount(const char* name, std::uint64_t value) {
    if (value > kMicroMax) complain(name, "is negative or above 2^60");
  }
  void at_most(const char* name, std::uint64_t value, std::uint64_t most) {
    if (value > most)
      complain(name, "is " + std::to_string(value) + "; the most is " + std::to_string(most));
  }
  void not_zero(const char* name, std::uint64_t value) {
    if (value == 0) complain(name, "is missing");
  }
  void known(const char* name, bool is_known, int value) {
    if (!is_known) complain(name, "is " + std::to_string(value) + ", which nobody knows");
  }
  // Text that may be empty.
  void text(const char* name, const std::string& value, std::size_t bytes_max) {
    if (value.size() > bytes_max)
      complain(name, "has " + std::to_string(value.size()) + " bytes; the most is " +
                         std::to_string(bytes_max));
    else if (!is_clean_text(value))
      complain(name, "is no clean UTF-8 text");
  }
  void name(const char* field, const std::string& value, std::size_t bytes_max) {
    if (value.size() < kNamesMin) complain(field, "is missing");
    text(field, value, bytes_max);
  }
  void bytes(const char* name, const std::string& value, std::size_t bytes_max) {
    at_most(name, value.size(), bytes_max);
  }
  bool failed() const noexcept { return failed_; }
  Complaint result() && { return std::move(complaint_); }

 private:
  void complain(const char* field, const std::string& what) {
    if (failed_) return;
    failed_ = true;
    complaint_.code = v1::REFUSED_MALFORMED;
    complaint_.text = std::string(message_) + ": " + field + " " + what;
  }

  const char* message_;
  bool failed_ = false;
  Complaint complaint_;
};

// ---- to the server

Complaint check_hello(const v1::Hello& m) {
  if (m.protocol_major() != kProtocolMajor) {
    return {v1::REFUSED_VERSION, "protocol " + std::to_string(m.protocol_major()) + "." +
                                     std::to_string(m.protocol_minor()) +
                                     " is not spoken here, only " + std::to_string(kProtocolMajor) +
                                     ".x; use an agent and a server of one major version"};
  }
  Checker c("hello");
  c.text("version", m.version(), kVersionBytesMax);
  c.name("namespace_name", m.namespace_name(), kNamespaceBytesMax);
  c.name("host", m.host(), kHostNameBytesMax);
  c.text("token", m.token(), kTokenBytesMax);
  const int rows = m.claim_limit_size();
  c.rows("claim_limit", rows, kClaimsMax);
  c.amounts("claim_rate", m.claim_rate(), rows);
  c.amounts("claim_burst", m.claim_burst(), rows);
  c.amounts("claim_tail_rate", m.claim_tail_rate(), rows);
  c.amounts("claim_tail_burst", m.claim_tail_burst(), rows);
  c.column("claim_proof", m.claim_proof(), rows);
  c.amounts("claim_granted_rate", m.claim_granted_rate(), rows);
  c.amounts("claim_granted_burst", m.claim_granted_burst(), rows);
  c.amounts("claim_granted_tail_rate", m.claim_granted_tail_rate(), rows);
  c.amounts("claim_granted_tail_burst", m.claim_granted_tail_burst(), rows);
  return std::move(c).result();
}

Complaint check_request(const v1::Request& m) {
  Checker c("request");
  const int rows = m.limit_size();
  c.rows("limit", rows, kRowsMax);
  c.amounts("rate", m.rate(), rows);
  c.amounts("need", m.need(), rows);
  c.amounts("returned", m.returned(), rows);
  c.amounts("keep_rate", m.keep_rate(), rows);
  c.amounts("keep_burst", m.keep_burst(), rows);
  c.amounts("spent_total", m.spent_total(), rows);
  c.amounts("refused_total", m.refused_total(), rows);
  return std::move(c).result();
}

Complaint check_query(const v1::ClusterQuery& m) {
  Checker c("cluster_query");
  c.known("topic", v1::ClusterTopic_IsValid(m.topic()) && m.topic() != 0, m.topic());
  c.text("namespace_name", m.namespace_name(), kNamespaceBytesMax);
  c.text("limit_name", m.limit_name(), kLimitNameBytesMax);
  c.at_most("rows_max", m.rows_max(), kRowsMax);
  c.bytes("page_token", m.page_token(), kPageTokenBytesMax);
  return std::move(c).result();
}

template <class Message>
void check_quota_keys(Checker& c, const Message& m, int rows_max) {
  c.rows("quota_name", m.quota_name_size(), rows_max);
  c.names("quota_name", m.quota_name(), m.quota_name_size(), kNamesMin, kQuotaNameBytesMax);
  c.names("quota_key", m.quota_key(), m.quota_name_size(), kNamesMin, kQuotaKeyBytesMax);
}

Complaint check_quota_asks(const v1::QuotaAsks& m) {
  Checker c("quota_asks");
  const int rows = m.quota_name_size();
  check_quota_keys(c, m, kQuotaRowsMax);
  c.column("ask_no", m.ask_no(), rows);
  c.column("seq", m.seq(), rows);
  c.column("done_seq", m.done_seq(), rows);
  c.units("need", m.need(), rows, kQuotaUnitsMax);
  c.units("per_s", m.per_s(), rows, kQuotaUnitsMax);
  c.column("refund_gen", m.refund_gen(), rows);
  c.units("refunded_total", m.refunded_total(), rows, kQuotaUnitsMax);
  const int chunks = m.chunk_seq_size();
  c.shares("chunks", m.chunks(), rows, kQuotaChunksMax, chunks);
  c.column("chunk_gen", m.chunk_gen(), chunks);
  c.units("chunk_granted", m.chunk_granted(), chunks, kQuotaUnitsMax);
  c.units("chunk_spent", m.chunk_spent(), chunks, kQuotaUnitsMax);
  c.units("chunk_returned", m.chunk_returned(), chunks, 1);
  return std::move(c).result();
}

Complaint check_quota_usage(const v1::QuotaUsage& m) {
  Checker c("quota_usage");
  const int rows = m.quota_name_size();
  c.not_zero("batch_no", m.batch_no());
  check_quota_keys(c, m, kQuotaUsageRowsMax);
  c.units("amount", m.amount(), rows, kQuotaUnitsMax);
  c.units("refund", m.refund(), rows, 1);
  c.names("process", m.process(), rows, 0, kQuotaProcessBytesMax);
  c.column("uid", m.uid(), rows);
  c.names("outcome", m.outcome(), rows, 0, kQuotaReasonBytesMax);
  c.units("left", m.left(), rows, kQuotaUnitsMax);
  c.units("at_wall_ms", m.at_wall_ms(), rows, kWallMsMax);
  return std::move(c).result();
}

Complaint check_permit_reports(const v1::PermitReports& m) {
  Checker c("permit_reports");
  const int rows = m.name_size();
  c.not_zero("seq", m.seq());
  c.rows("name", rows, kPermitRowsMax);
  c.names("name", m.name(), rows, kNamesMin, kLimitNameBytesMax);
  c.column("number", m.number(), rows);
  c.units("cap", m.cap(), rows, kPermitsMax);
  c.units("in_flight", m.in_flight(), rows, kPermitsMax);
  c.units("want", m.want(), rows, kPermitsMax);
  return std::move(c).result();
}

// ---- to the agent

Complaint check_permit_grants(const v1::PermitGrants& m) {
  Checker c("permit_grants");
  const int rows = m.name_size();
  c.at_most("ttl_ns", m.ttl_ns(), kTimeNsMax);
  c.rows("name", rows, kPermitRowsMax);
  c.names("name", m.name(), rows, kNamesMin, kLimitNameBytesMax);
  c.column("number", m.number(), rows);
  c.units("cap", m.cap(), rows, kPermitsMax);
  c.column("hosts", m.hosts(), rows);
  return std::move(c).result();
}

Complaint check_quota_replies(const v1::QuotaReplies& m) {
  Checker c("quota_replies");
  const int rows = m.quota_name_size();
  check_quota_keys(c, m, kQuotaRowsMax);
  c.column("ask_no", m.ask_no(), rows);
  c.column("seq", m.seq(), rows);
  c.column("outcome", m.outcome(), rows);
  c.column("gen", m.gen(), rows);
  c.units("granted", m.granted(), rows, kQuotaUnitsMax);
  c.units("remaining", m.remaining(), rows, kQuotaUnitsMax);
  c.units("valid_ms", m.valid_ms(), rows, kWallMsMax);
  c.units("retry_ms", m.retry_ms(), rows, kWallMsMax);
  c.units("give_back", m.give_back(), rows, 1);
  c.shares("closed", m.closed(), rows, kQuotaChunksMax, m.closed_seq_size());
  c.shares("stop", m.stop(), rows, kQuotaChunksMax, m.stop_seq_size());
  return std::move(c).result();
}

Complaint check_quota_pokes(const v1::QuotaPokes& m) {
  Checker c("quota_pokes");
  check_quota_keys(c, m, kQuotaRowsMax);
  return std::move(c).result();
}

Complaint check_welcome(const v1::Welcome& m) {
  Checker c("welcome");
  c.rows("withdraw", m.withdraw_size(), kRowsMax);
  c.text("server", m.server(), kHostNameBytesMax);
  c.text("version", m.version(), kVersionBytesMax);
  c.text("namespace_name", m.namespace_name(), kNamespaceBytesMax);
  return std::move(c).result();
}

Complaint check_answer(const v1::Answer& m) {
  Checker c("answer");
  c.at_most("ttl_ns", m.ttl_ns(), kTimeNsMax);
  c.at_most("tail_ns", m.tail_ns(), kTimeNsMax);
  c.at_most("refresh_ns", m.refresh_ns(), kTimeNsMax);
  const int rows = m.limit_size();
  c.rows("limit", rows, kRowsMax);
  c.amounts("rate", m.rate(), rows);
  c.amounts("burst", m.burst(), rows);
  c.amounts("tail_rate", m.tail_rate(), rows);
  c.amounts("tail_burst", m.tail_burst(), rows);
  c.amounts("fill", m.fill(), rows);
  c.column("proof", m.proof(), rows);
  c.column("hosts", m.hosts(), rows);
  return std::move(c).result();
}

void check_rule(Checker& c, const v1::RulePush& m) {
  c.name("name", m.name(), kLimitNameBytesMax);
  c.text("description", m.description(), kPushDescriptionBytesMax);
  c.text("parent", m.parent(), kLimitNameBytesMax);
  c.amount("rate", m.rate());
  c.amount("burst", m.burst());
  c.amount("amount", m.amount());
  c.not_zero("period_ns", m.period_ns());
  c.at_most("period_ns", m.period_ns(), kPeriodNsMax);
  c.at_most("weight", m.weight(), kWeightMax);
  c.at_most("band", m.band(), kBandMax);
  c.amount("floor_rate", m.floor_rate());
  c.known("fallback", v1::RuleFallback_IsValid(m.fallback()) && m.fallback() != 0, m.fallback());
  c.amount("fallback_amount", m.fallback_amount());
  c.at_most("fallback_period_ns", m.fallback_period_ns(), kPeriodNsMax);
  c.amount("fallback_burst", m.fallback_burst());
  c.at_most("tail_ns", m.tail_ns(), kTimeNsMax);
  if (m.reserve_permille_size() != 0) c.column("reserve_permille", m.reserve_permille(), 4);
  for (const std::uint32_t share : m.reserve_permille())
    c.at_most("reserve_permille", share, 999);
}

Complaint check_rules(const v1::Rules& m) {
  Checker c("rules");
  c.not_zero("rules_version", m.rules_version());
  c.rows("rules", m.rules_size(), kRowsMax);
  for (int i = 0; i < m.rules_size() && !c.failed(); ++i)
    check_rule(c, m.rules(i));
  return std::move(c).result();
}

Complaint check_redirect(const v1::Redirect& m) {
  Checker c("redirect");
  c.rows("addresses", m.addresses_size(), kRedirectsMax);
  for (const std::string& address : m.addresses())
    c.name("addresses", address, kAddressBytesMax);
  c.text("reason", m.reason(), kTextBytesMax);
  return std::move(c).result();
}

Complaint check_refused(const v1::Refused& m) {
  Checker c("refused");
  c.text("text", m.text(), kTextBytesMax);
  return std::move(c).result();
}

void check_server(Checker& c, const v1::ServerReport& m) {
  c.text("server.name", m.name(), kHostNameBytesMax);
  c.text("server.version", m.version(), kVersionBytesMax);
  c.text("server.namespace_name", m.namespace_name(), kNamespaceBytesMax);
  c.text("server.owner_name", m.owner_name(), kAddressBytesMax);
}

Complaint check_report(const v1::ClusterReport& m) {
  Checker c("cluster_report");
  c.text("error", m.error(), kTextBytesMax);
  c.bytes("next_page_token", m.next_page_token(), kPageTokenBytesMax);
  c.rows("limits", m.limits_size(), kRowsMax);
  c.rows("hosts", m.hosts_size(), kRowsMax);
  check_server(c, m.server());
  for (int i = 0; i < m.limits_size() && !c.failed(); ++i) {
    const v1::LimitReport& limit = m.limits(i);
    c.name("limits.name", limit.name(), kLimitNameBytesMax);
    c.text("limits.parent", limit.parent(), kLimitNameBytesMax);
  }
  for (int i = 0; i < m.hosts_size() && !c.failed(); ++i) {
    const v1::HostReport& host = m.hosts(i);
    c.name("hosts.host", host.host(), kHostNameBytesMax);
    c.text("hosts.address", host.address(), kAddressBytesMax);
    c.text("hosts.version", host.version(), kVersionBytesMax);
    c.known("hosts.state", v1::HostState_IsValid(host.state()), host.state());
  }
  return std::move(c).result();
}

template <class Message>
Complaint decode_as(std::string_view payload, Message& message) {
  if (!fields_are_few(payload, true) || !decode_payload(payload, message))
    return {v1::REFUSED_MALFORMED, "the message cannot be read"};
  return check(message);
}

template <class Message>
bool has_unknown_alone(const Message& message) noexcept {
  return !Message::GetReflection()->GetUnknownFields(message).empty();
}

Complaint no_kind(bool newer) {
  if (newer) return {};
  return {v1::REFUSED_MALFORMED, "the message is empty, or several in one"};
}

}  // namespace

ToServerKind kind_of(const v1::ToServer& m) noexcept {
  ToServerKind kind = ToServerKind::none;
  int kinds = 0;
  const auto note = [&](bool has, ToServerKind what) {
    if (!has) return;
    kind = what;
    ++kinds;
  };
  note(m.has_request(), ToServerKind::request);
  note(m.has_ack(), ToServerKind::ack);
  note(m.has_hello(), ToServerKind::hello);
  note(m.has_goodbye(), ToServerKind::goodbye);
  note(m.has_ping(), ToServerKind::ping);
  note(m.has_cluster_query(), ToServerKind::cluster_query);
  note(m.has_quota_asks(), ToServerKind::quota_asks);
  note(m.has_quota_usage(), ToServerKind::quota_usage);
  note(m.has_permit_reports(), ToServerKind::permit_reports);
  return kinds == 1 ? kind : ToServerKind::none;
}

ToAgentKind kind_of(const v1::ToAgent& m) noexcept {
  ToAgentKind kind = ToAgentKind::none;
  int kinds = 0;
  const auto note = [&](bool has, ToAgentKind what) {
    if (!has) return;
    kind = what;
    ++kinds;
  };
  note(m.has_answer(), ToAgentKind::answer);
  note(m.has_poke(), ToAgentKind::poke);
  note(m.has_welcome(), ToAgentKind::welcome);
  note(m.has_rules(), ToAgentKind::rules);
  note(m.has_redirect(), ToAgentKind::redirect);
  note(m.has_refused(), ToAgentKind::refused);
  note(m.has_pong(), ToAgentKind::pong);
  note(m.has_cluster_report(), ToAgentKind::cluster_report);
  note(m.has_quota_replies(), ToAgentKind::quota_replies);
  note(m.has_quota_pokes(), ToAgentKind::quota_pokes);
  note(m.has_quota_usage_taken(), ToAgentKind::quota_usage_taken);
  note(m.has_permit_grants(), ToAgentKind::permit_grants);
  return kinds == 1 ? kind : ToAgentKind::none;
}

// One known kind hides whatever else a newer program may have put beside it.
bool is_newer(const v1::ToServer& m) noexcept {
  const bool known = m.has_hello() || m.has_request() || m.has_ack() || m.has_goodbye() ||
                     m.has_ping() || m.has_cluster_query() || m.has_quota_asks() ||
                     m.has_quota_usage() || m.has_permit_reports();
  return !known && has_unknown_alone(m);
}
bool is_newer(const v1::ToAgent& m) noexcept {
  const bool known = m.has_welcome() || m.has_answer() || m.has_rules() || m.has_poke() ||
                     m.has_redirect() || m.has_refused() || m.has_pong() ||
                     m.has_cluster_report() || m.has_quota_replies() || m.has_quota_pokes() ||
                     m.has_quota_usage_taken() || m.has_permit_grants();
  return !known && has_unknown_alone(m);
}

Complaint check(const v1::ToServer& message) {
  switch (kind_of(message)) {
    case ToServerKind::hello:
      return check_hello(message.hello());
    case ToServerKind::request:
      return check_request(message.request());
    case ToServerKind::cluster_query:
      return check_query(message.cluster_query());
    case ToServerKind::quota_asks:
      return check_quota_asks(message.quota_asks());
    case ToServerKind::quota_usage:
      return check_quota_usage(message.quota_usage());
    case ToServerKind::permit_reports:
      return check_permit_reports(message.permit_reports());
    case ToServerKind::ack:
    case ToServerKind::goodbye:
    case ToServerKind::ping:
      return {};
    case ToServerKind::none:
      return no_kind(is_newer(message));
  }
  return {};
}

Complaint check(const v1::ToAgent& message) {
  switch (kind_of(message)) {
    case ToAgentKind::welcome:
      return check_welcome(message.welcome());
    case ToAgentKind::answer:
      return check_answer(message.answer());
    case ToAgentKind::rules:
      return check_rules(message.rules());
    case ToAgentKind::redirect:
      return check_redirect(message.redirect());
    case ToAgentKind::refused:
      return check_refused(message.refused());
    case ToAgentKind::cluster_report:
      return check_report(message.cluster_report());
    case ToAgentKind::quota_replies:
      return check_quota_replies(message.quota_replies());
    case ToAgentKind::quota_pokes:
      return check_quota_pokes(message.quota_pokes());
    case ToAgentKind::permit_grants:
      return check_permit_grants(message.permit_grants());
    case ToAgentKind::quota_usage_taken:
    case ToAgentKind::poke:
    case ToAgentKind::pong:
      return {};
    case ToAgentKind::none:
      return no_kind(is_newer(message));
  }
  return {};
}

Complaint decode(std::string_view payload, v1::ToServer& message) {
  return decode_as(payload, message);
}
Complaint decode(std::string_view payload, v1::ToAgent& message) {
  return decode_as(payload, message);
}

bool append_frame(std::string& out, const google::protobuf::MessageLite& message) {
  const std::size_t payload_bytes = message.ByteSizeLong();
  if (payload_bytes > kLeaseFrameBytesMax) return false;
  const std::size_t start = out.size();
  out.resize(start + kFrameHeaderBytes + payload_bytes);
  auto* at = reinterpret_cast<std::uint8_t*>(out.data() + start);
  for (unsigned shift = 0; shift < 32; shift += 8)
    *at++ = static_cast<std::uint8_t>(payload_bytes >> shift);
  (void)message.SerializeWithCachedSizesToArray(at);
  return true;
}

bool is_clean_text(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) {
      if (lead < 0x20 || lead == 0x7f) return false;
      continue;
    }
    const unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < more) return false;
    std::uint32_t code = lead & (0x3fU >> more);
    for (unsigned k = 0; k < more; ++k) {
      const auto byte = static_cast<unsigned char>(text[i++]);
      if ((byte & 0xc0) != 0x80) return false;
      code = code << 6 | (byte & 0x3fU);
    }
    const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    if (overlong || surrogate || code > 0x10ffff || code < 0xa0) return false;
  }
  return true;
}

}  // namespace weir::net
