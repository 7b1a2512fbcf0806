// Sessions and messages: who is it, what did it accept, what does it say.
#include "lease/book.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "lease/book_parts.h"
#include "lease/random.h"

namespace weir::lease {
namespace {

constexpr std::uint64_t kSessionSalt = 0x7765697273657373ULL;
// A session's lowest bits say where its holder is kept, so that a message finds it without a
// search.
constexpr std::uint64_t kHolderMask = (std::uint64_t{1} << 20) - 1;

Terms smaller(const Terms& a, const Terms& b) noexcept {
  return {std::min(a.rate, b.rate), std::min(a.burst, b.burst), std::min(a.tail_rate, b.tail_rate),
          std::min(a.tail_burst, b.tail_burst)};
}

// Of those behind the last one, before a search.
constexpr std::size_t kRowsLookedAt = 8;

bool sane(const Terms& terms) noexcept {
  const auto fits = [](Micro value) { return value >= 0 && value <= kMicroMax; };
  return fits(terms.rate) && fits(terms.burst) && fits(terms.tail_rate) && fits(terms.tail_burst);
}

}  // namespace

// No host's name has such a character.
constexpr char kMark = '\x1f';

Identity mark_of(const Identity& identity, SessionId session) {
  return {identity.host + kMark + std::to_string(session), identity.agent_epoch};
}

Book::Book(BookOptions options, TimeNs now_ns) : options_(std::move(options)) {
  learning_ = options_.learn;
  for (const Identity& identity : options_.known)
    take_known(identity);
  // A lease granted the instant before we started, and after it its tail, must have ended when
  // learning ends, whichever clock they are judged by.
  const TimeNs leases_ns = lengthened(lengthened(options_.ttl_ns)) + lengthened(options_.tail_ns);
  learning_end_ns_ = learning_ ? now_ns + std::max(leases_ns, options_.reconnect_ns) : now_ns;
  learning_start_ns_ = now_ns;
  quiet_end_ns_ = learning_ ? now_ns + lengthened(lengthened(options_.ttl_ns)) : now_ns;
}
Book::~Book() = default;
Book::Book(Book&&) noexcept = default;
Book& Book::operator=(Book&&) noexcept = default;

void Book::raise_epoch(std::uint64_t epoch) noexcept {
  options_.epoch = std::max(options_.epoch, epoch);
}

TimeNs Book::refresh_ns() const noexcept {
  const auto crowd = static_cast<TimeNs>(live_) * kSecond / std::max(1U, options_.requests_per_s);
  return std::max(options_.refresh_ns, crowd);
}
TimeNs Book::ttl_ns() const noexcept { return std::max(options_.ttl_ns, 3 * refresh_ns()); }

const Book::Holder* Book::find(SessionId session) const {
  const std::uint64_t index = session & kHolderMask;
  if (index >= holders_.size() || session == 0 || holders_[index].session != session)
    return nullptr;
  return &holders_[index];
}
Book::Holder* Book::find(SessionId session) {
  return const_cast<Holder*>(std::as_const(*this).find(session));
}

std::uint32_t Book::make_holder(const Hello& hello) {
  std::uint32_t index = 0;
  if (free_holders_.empty()) {
    index = static_cast<std::uint32_t>(holders_.size());
    holders_.emplace_back();
  } else {
    index = free_holders_.back();
    free_holders_.pop_back();
    holders_[index] = Holder{};
  }
  holders_[index].id = {hello.host, hello.agent_epoch};
  holders_[index].used = true;
  identities_[holders_[index].id] = index;
  ++live_;
  return index;
}

std::optional<Book::Greeting> Book::hello(const Hello& hello, TimeNs now_ns) {
  if (now_ns >= fence_ns_ && !mutants.no_fence) return std::nullopt;
  Greeting greeting;
  Welcome& welcome = greeting.welcome;
  welcome.hello_no = hello.hello_no;
  welcome.epoch = options_.epoch;
  const Identity identity{hello.host, hello.agent_epoch};
  const auto found = identities_.find(identity);
  if (found == identities_.end()) {
    const auto mark = marks_.find(identity);
    if (mark != marks_.end() && mark->second != hello.prev_session) {
      // Before us it was succeeded by somebody with its name, who has not spoken yet.
      welcome.new_identity = true;
      return greeting;
    }
    if (identities_.size() >= options_.hosts_max) return std::nullopt;
    if (free_holders_.empty() && holders_.size() > kHolderMask) return std::nullopt;
    Holder& holder = holders_[make_holder(hello)];
    holder.origin = hello.prev_session;
    holder.confirmed = hello.prev_session;  // which it says again if this welcome is lost
    greeting.remember = true;
    open_session(holder, hello, now_ns);
    learn_claims(holder, hello, welcome);
    // Whoever claims what was never granted has not said what it holds; not before it has heard
    // that it must drop that.
    if (!holder.disbelieved || mutants.unproved_spoke) awaited_.erase(identity);
    welcome.session = holder.session;
    ends_.emplace(holder.end_ns, identities_[identity]);
    if (mark != marks_.end()) {
      holder.marked = mark->second;
      marks_.erase(mark);
    }
    if (hello.prev_session != 0) mark_session(holder, greeting);
    rescale(now_ns);
    if (all_have_spoken()) end_learning(now_ns);
  } else {
    Holder& holder = holders_[found->second];
    // Every hello has a number of its own: an equal one is a double, or a clone's.
    if (hello.hello_no <= holder.hello_no) {
      if (hello.prev_session != holder.origin) await_twin(holder);
      return std::nullopt;
    }
    const bool chained =
        hello.prev_session == holder.session || hello.prev_session == holder.confirmed;
    if (!chained && !mutants.any_session) {
      // A copy of a host that went on without it. It must not hold what the other one holds.
      welcome.new_identity = true;
      await_twin(holder);
      return greeting;
    }
    note_claims(holder, hello, welcome);
    if (mutants.hasty_hello) resume(holder, now_ns);
    open_session(holder, hello, now_ns);
    mark_session(holder, greeting);
    welcome.session = holder.session;
    // As long as no request shows that a welcome has left, the storing may have failed.
    greeting.remember = !holder.remembered;
  }
  welcome.learning = learning_;
  return greeting;
}

// Of a host and its copy only one was heard, and what the other one holds goes on: until it has
// ended, which is when learning ends by itself, not all is known.
void Book::await_twin(const Holder& holder) {
  if (learning_ && !mutants.twins_spoke) awaited_[holder.id] = true;
}

void Book::take_known(const Identity& identity) {
  const std::size_t at = identity.host.rfind(kMark);
  if (at == std::string::npos) {
    awaited_[identity] = true;
    return;
  }
  const std::string number = identity.host.substr(at + 1);
  SessionId session = 0;
  std::from_chars(number.data(), number.data() + number.size(), session);
  marks_[{identity.host.substr(0, at), identity.agent_epoch}] = session;
}

// Most often it is the host itself that has come back. But it may be a copy that takes its place,
// and then the host goes on with what it holds until it is heard. We would find that out; the
// next server, to which the host may speak first, could not.
void Book::mark_session(Holder& holder, Greeting& greeting) {
  if (mutants.no_marks) return;
  if (holder.marked != 0) greeting.unmark = mark_of(holder.id, holder.marked);
  holder.marked = holder.session;
  greeting.mark = mark_of(holder.id, holder.marked);
}

bool Book::all_have_spoken() const noexcept {
  return learning_ && !options_.known.empty() && (awaited_.empty() || mutants.hasty_learning);
}

void Book::open_session(Holder& holder, const Hello& hello, TimeNs now_ns) {
  const auto index = static_cast<std::uint64_t>(&holder - holders_.data());
  do {
    holder.session = (mix(options_.epoch ^ kSessionSalt, ++sessions_made_) & ~kHolderMask) | index;
  } while (holder.session == 0);
  holder.hello_no = hello.hello_no;
  holder.last_seq = holder.offered_seq = 0;
  holder.session_start_ns = holder.heard_ns = now_ns;
  holder.live = true;
  const TimeNs ttl_ns = ttl_ns_at_server();
  holder.end_ns = std::max(holder.end_ns, now_ns + ttl_ns);
}

TimeNs Book::ttl_ns_at_server() const noexcept {
  return mutants.no_server_lengthening ? ttl_ns() : lengthened(ttl_ns());
}

// A host that nobody here has met. While learning, what it proves to hold is counted in full,
// even beyond the limit: it is out there. After that nothing can be out there any more.
void Book::learn_claims(Holder& holder, const Hello& hello, Welcome& welcome) {
  for (const Claim& claim : hello.claims) {
    const auto limit = limit_index_.find(claim.limit);
    const Terms granted = claim.granted == Terms{} ? claim.terms : claim.granted;
    const bool proved = mutants.believe_claims || !options_.prove ||
                        options_.prove(holder.id, claim.limit, granted) == claim.proof;
    if (!(learning_ || mutants.late_claims) || limit == limit_index_.end() || !sane(claim.terms) ||
        !proved || holder.by_id.contains(claim.limit)) {
      welcome.withdraw.push_back(claim.limit);
      holder.disbelieved = holder.disbelieved || !proved || !sane(claim.terms);
      continue;
    }
    Row& row = make_row(holder, limit->second);
    Terms terms = smaller(claim.terms, granted);
    if (mutants.cap_claims) {
      const LimitState& state = limits_[limit->second];
      terms.rate = std::clamp<Micro>(state.rate - state.host_rate, 0, terms.rate);
      terms.tail_rate = std::min(terms.tail_rate, terms.rate);
    }
    row.claimed_burst = std::max(terms.burst, terms.tail_burst);
    set_held(row, terms, holder.heard_ns);
  }
}

// A host that is known says what it still holds; what it does not name it has dropped. One that
// names more than it was left with is a copy from before that, and must drop it. None of it counts
// before the host has heard our welcome: a server that cannot store a hello has not heard it.
void Book::note_claims(Holder& holder, const Hello& hello, Welcome& welcome) {
  holder.resuming = true;
  // A session in which nothing was asked says nothing of what was offered before it.
  if (hello.prev_session == holder.confirmed)
    holder.took_offer = hello.accepted_seq == holder.confirmed_offer;
  holder.claims = hello.claims;
  for (const Claim& claim : hello.claims) {
    const auto found = holder.by_id.find(claim.limit);
    if (found == holder.by_id.end()) {
      welcome.withdraw.push_back(claim.limit);
      continue;
    }
    const Row& row = holder.rows[found->second];
    const Terms& held = row.offered && holder.took_offer ? row.next : row.held;
    if (smaller(held, claim.terms) != claim.terms && !mutants.resume_whole)
      welcome.withdraw.push_back(claim.limit);
  }
}

void Book::resume(Holder& holder, TimeNs now_ns) {
  if (!std::exchange(holder.resuming, false)) return;
  settle_offers(holder, holder.took_offer, now_ns);
  std::unordered_map<LimitId, const Terms*> claimed;
  for (const Claim& claim : holder.claims)
    claimed[claim.limit] = &claim.terms;
  for (Row& row : holder.rows) {
    const auto found = claimed.find(row.id);
    const Terms claim = found == claimed.end() ? Terms{} : *found->second;
    set_held(row, mutants.resume_whole ? claim : smaller(row.held, claim), now_ns);
  }
  holder.claims.clear();
}

Book::Row* Book::row_of(Holder& holder, LimitId limit, std::size_t& cursor) {
  // Hosts name their limits in the same order each time, and leave some out.
  const std::size_t end = std::min(holder.rows.size(), cursor + kRowsLookedAt);
  for (std::size_t at = cursor; at < end; ++at)
    if (holder.rows[at].id == limit) {
      cursor = at + 1;
      return &holder.rows[at];
    }
  const auto found = holder.by_id.find(limit);
  if (found != holder.by_id.end()) {
    cursor = found->second + 1;
    return &holder.rows[found->second];
  }
  const auto index = limit_index_.find(limit);
  if (index == limit_index_.end() || !limits_[index->second].active) return nullptr;
  cursor = holder.rows.size() + 1;
  return &make_row(holder, index->second);
}

Book::Row& Book::make_row(Holder& holder, std::uint32_t limit) {
  LimitState& state = limits_[limit];
  Row& row = holder.rows.emplace_back();
  row.id = state.id;
  row.limit = limit;
  row.holder = identities_.at(holder.id);
  row.index = static_cast<std::uint32_t>(holder.rows.size() - 1);
  row.member = static_cast<std::uint32_t>(state.members.size());
  state.members.emplace_back(row.holder, row.index);
  holder.by_id[row.id] = row.index;
  apply_host_rules(row);
  return row;
}

Answer& Book::open_answer(Holder& holder, std::uint64_t seq, TimeNs now_ns) const {
  Answer& answer = holder.answer;
  answer.session = holder.session;
  answer.epoch = options_.epoch;
  answer.seq = seq;
  answer.ttl_ns = ttl_ns();
  answer.tail_ns = options_.tail_ns;
  answer.refresh_ns = refresh_ns();
  answer.server_ns = now_ns - holder.session_start_ns;
  answer.busy = false;
  answer.learning = learning_;
  answer.grants.clear();
  return answer;
}

// A host comes once in a second: by then other hosts' rows have taken its place in the caches.
void Book::fetch_ahead(const Holder& holder, std::size_t cursor) const noexcept {
  const auto fetch = [](const char* from, const char* to) {
    for (const char* at = from; at < to; at += kFetchBytes)
      __builtin_prefetch(at);
  };
  if (const std::size_t ahead = cursor + 2 * kRowsAhead; ahead < holder.rows.size()) {
    const auto* row = reinterpret_cast<const char*>(&holder.rows[ahead]);
    fetch(row, row + sizeof(Row));
  }
  if (const std::size_t ahead = cursor + kRowsAhead; ahead < holder.rows.size()) {
    const LimitState& limit = limits_[holder.rows[ahead].limit];
    fetch(reinterpret_cast<const char*>(&limit.rate), reinterpret_cast<const char*>(&limit + 1));
  }
}

const Answer* Book::request(const Request& request, TimeNs now_ns) {
  Holder* holder = find(request.session);
  if (holder == nullptr || (now_ns >= fence_ns_ && !mutants.no_fence)) return nullptr;
  if (request.seq == holder->last_seq && request.seq != 0 && !mutants.repeat_decides)
    return &holder->answer;
  const bool again = mutants.repeat_decides && request.seq == holder->last_seq;
  if (request.seq != holder->last_seq + 1 && !again && !mutants.any_order) return nullptr;
  resume(*holder, now_ns);
  settle_offers(*holder, request.accepted_seq == holder->offered_seq && holder->offered_seq != 0,
                now_ns);
  holder->last_seq = request.seq;
  holder->confirmed = holder->session;
  holder->remembered = true;
  holder->live = true;
  holder->heard_ns = now_ns;
  holder->end_ns = std::max(holder->end_ns, now_ns + ttl_ns_at_server());
  if (holder->disbelieved && learning_) {
    holder->disbelieved = false;
    awaited_.erase(holder->id);
    if (all_have_spoken()) end_learning(now_ns);
  }

  Answer& answer = open_answer(*holder, request.seq, now_ns);
  std::size_t cursor = 0;
  // A limit is decided on as soon as its want is known, while all that belongs to it is near. But
  // one that has a parent may get what is given up elsewhere.
  const bool at_once = families_ == 0;
  for (const Want& want : request.wants) {
    fetch_ahead(*holder, cursor);
    Row* row = row_of(*holder, want.limit, cursor);
    if (row == nullptr || row->decided) continue;  // a limit that is said twice counts once
    take_want(*holder, *row, want, now_ns);
    if (!at_once) continue;
    decide(*holder, *row, now_ns);
    row->decided = true;
  }
  holder->offered_seq = holder->confirmed_offer = request.seq;
  for (Row& row : holder->rows)
    if (!std::exchange(row.decided, false)) decide(*holder, row, now_ns);
  return &answer;
}

const Answer* Book::busy(const Request& request, TimeNs now_ns) {
  Holder* holder = find(request.session);
  if (holder == nullptr || (now_ns >= fence_ns_ && !mutants.no_fence)) return nullptr;
  if (request.seq == holder->last_seq && request.seq != 0) return &holder->answer;
  if (request.seq != holder->last_seq + 1 || !holder->live) return nullptr;
  // What was offered stays counted until the next request that is looked at.
  resume(*holder, now_ns);
  settle_offers(*holder, request.accepted_seq == holder->offered_seq && holder->offered_seq != 0,
                now_ns);
  holder->last_seq = request.seq;
  holder->confirmed = holder->session;
  holder->remembered = true;
  holder->heard_ns = now_ns;
  holder->end_ns = std::max(holder->end_ns, now_ns + ttl_ns_at_server());
  Answer& answer = open_answer(*holder, request.seq, now_ns);
  answer.busy = true;
  return &answer;
}

void Book::ack(const Ack& ack, TimeNs now_ns) {
  Holder* holder = find(ack.session);
  if (holder == nullptr || ack.seq == 0) return;
  if (ack.seq != holder->offered_seq && !mutants.any_ack) return;
  settle_offers(*holder, true, now_ns);
}

void Book::goodbye(const Goodbye& goodbye, TimeNs now_ns) {
  Holder* holder = find(goodbye.session);
  if (holder == nullptr) return;
  // It may have taken the last answer and spent the tokens that came with it; only the word that
  // says so was lost.
  for (const std::uint32_t index : holder->offered_rows)
    if (!mutants.fills_come_back) holder->rows[index].fill_next = 0;
  settle_offers(*holder, false, now_ns);
  for (Row& row : holder->rows)
    set_held(row, Terms{}, now_ns);
  gone_.push_back(identities_.at(holder->id));  // poll() forgets it and says so
}

void Book::take_want(Holder& holder, Row& row, const Want& want, TimeNs now_ns) {
  LimitState& limit = limits_[row.limit];
  const Micro keep_rate = std::max<Micro>(0, want.keep_rate);
  const Micro keep_burst = std::max<Micro>(0, want.keep_burst);
  const Terms kept = smaller(row.held, {keep_rate, keep_burst, keep_rate, keep_burst});
  if (kept != row.held) set_held(row, kept, now_ns);
  if (want.returned > 0) {
    const Micro most = mutants.return_counts_always ? want.returned : row.fill_held;
    const Micro credit = std::min(want.returned, most);
    row.fill_held -= std::min(credit, row.fill_held);
    limit.settle(now_ns);
    limit.level = std::min(limit.server_burst, limit.level + credit);
  }
  limit.spent_total += want.spent_total - std::min(row.spent, want.spent_total);
  limit.refused_total += want.refused_total - std::min(row.refused, want.refused_total);
  row.spent = std::max(row.spent, want.spent_total);
  row.refused = std::max(row.refused, want.refused_total);
  row.want = std::clamp<Micro>(want.rate, 0, kMicroMax);
  row.need = std::clamp<Micro>(want.need, 0, kMicroMax);
  (void)holder;
  update_share(row, now_ns);
}

// What was offered is either held now, or can never be accepted any more.
void Book::settle_offers(Holder& holder, bool accepted, TimeNs now_ns) {
  for (const std::uint32_t index : holder.offered_rows) {
    Row& row = holder.rows[index];
    if (!row.offered) continue;
    row.offered = false;
    if (accepted) {
      if (row.held != row.next) row.since_ns = now_ns;
      row.held = row.next;
      if (row.fill_next > 0) row.fill_held = row.fill_next;
      recount(row, now_ns);
    } else {
      recount(row, now_ns);
      LimitState& limit = limits_[row.limit];
      limit.settle(now_ns);
      limit.level = std::min(limit.server_burst, limit.level + row.fill_next);
    }
    row.fill_next = 0;
    want_attention(row.limit);
  }
  holder.offered_rows.clear();
}

void Book::set_held(Row& row, const Terms& terms, TimeNs now_ns) {
  if (row.held != terms) row.since_ns = now_ns;
  row.held = terms;
  recount(row, now_ns);
  want_attention(row.limit);
}

void Book::want_attention(std::uint32_t limit) {
  if (limits_[limit].in_attention) return;
  limits_[limit].in_attention = true;
  attention_.push_back(limit);
}

}  // namespace weir::lease
