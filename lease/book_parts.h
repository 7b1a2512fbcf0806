// What a book keeps for a host and for each of its limits. Included by the book's own files.
#pragma once

#include "lease/book.h"

namespace weir::lease {

// So many at most are asked for what a small host lacks.
inline constexpr Micro kGiversMost = 16;

struct Book::Row {
  LimitId id = 0;
  std::uint32_t limit = kNone;
  std::uint32_t holder = kNone;
  std::uint32_t index = 0;  // among the holder's rows
  std::uint32_t member = kNone;

  Terms held;  // confirmed
  Terms next;  // offered, not yet confirmed
  bool offered = false;
  bool token_mode = false;  // lives on whole tokens out of the server's bucket
  bool in_dirty = false, in_turns = false, in_short = false;
  bool decided = false;    // within a request
  Micro counted_rate = 0;  // what of this row is in the limit's sums
  Micro counted_burst = 0;
  Micro claimed_burst = 0;  // when it met this server

  Micro want = 0;
  Micro need = 0;
  std::uint32_t slot = kNone;  // in the limit's fair share; none while nothing is wanted
  FairShare::Holder fair;
  TimeNs set_ns = -kNever;  // when `fair` went into the limit's fair share
  Micro token_share = 0;
  Micro fill_next = 0;  // tokens in what is offered
  Micro fill_held = 0;  // tokens of the last fill that was taken
  std::uint64_t spent = 0, refused = 0;
  TimeNs since_ns = 0;
};

struct Book::Holder {
  Identity id;
  bool used = false;
  bool live = false;  // false: only tails are left
  SessionId session = 0;
  SessionId origin = 0;               // before it met this server
  SessionId confirmed = 0;            // the session in which the host was heard last
  std::uint64_t confirmed_offer = 0;  // in that session, last
  SessionId marked = 0;               // which is remembered for the next server; 0: none
  // What its hello said, until a request shows that its welcome has arrived.
  bool resuming = false;
  bool took_offer = false;
  std::vector<Claim> claims;
  bool remembered = false;   // it has been answered, so it was stored before
  bool disbelieved = false;  // what it said of its claims is not what it holds
  std::uint64_t hello_no = 0;
  std::uint64_t last_seq = 0;
  std::uint64_t offered_seq = 0;
  Answer answer;
  std::vector<Row> rows;
  std::unordered_map<LimitId, std::uint32_t> by_id;
  std::vector<std::uint32_t> offered_rows;
  TimeNs end_ns = 0;
  TimeNs heard_ns = 0;
  TimeNs session_start_ns = 0;
  TimeNs poked_ns = -kNever;
};

// How far ahead of its use memory is fetched.
inline constexpr std::size_t kRowsAhead = 4;
inline constexpr std::size_t kFetchBytes = 64;

inline Book::Row& Book::row_at(RowRef ref) { return holders_[ref.holder].rows[ref.row]; }

}  // namespace weir::lease
