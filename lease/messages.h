// What desks and books say to each other. Plain values: the wire form is made of them elsewhere,
// and the simulator passes them as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lease/units.h"

namespace weir::lease {

// A limit's name within its namespace, hashed. Every server and every host computes the same one,
// so that a claim means the same to the next server; rules with two names of one id are refused.
using LimitId = std::uint64_t;
LimitId limit_id(const std::string& name) noexcept;

using SessionId = std::uint64_t;  // chosen by a server for each hello; never 0

// What a host may mint, and what of it goes on for a while after the lease's end.
struct Terms {
  Micro rate = 0;
  Micro burst = 0;  // the most that the host's bucket may hold; capacity, not tokens
  Micro tail_rate = 0;
  Micro tail_burst = 0;

  bool operator==(const Terms&) const = default;
};

// A host's word for what it holds, when it meets a server that may not know it. `proof` is what
// the server gave with the terms.
struct Claim {
  LimitId limit = 0;
  Terms terms;  // what is left of it: the host may have given a part back, or live on its tail
  std::uint64_t proof = 0;
  Terms granted{};  // what the proof is of; all zero: of `terms`
};

struct Hello {
  std::string host;                // the host's name; whoever is at the other end may use it
  std::uint64_t agent_epoch = 0;   // random, new for every identity
  std::uint64_t hello_no = 0;      // rises with every hello of an identity
  SessionId prev_session = 0;      // 0: none
  std::uint64_t epoch_seen = 0;    // the highest server epoch that this host has accepted
  std::uint64_t accepted_seq = 0;  // of the previous session: the newest answer that was taken
  std::vector<Claim> claims;       // leases and tails that have not ended
};

struct Welcome {
  std::uint64_t hello_no = 0;
  SessionId session = 0;
  std::uint64_t epoch = 0;
  bool new_identity = false;  // drop everything, take a new agent_epoch, say hello again
  bool learning = false;
  std::vector<LimitId> withdraw;  // claims that were not accepted
};

// One limit's row in a request: only rows that differ from what was said last.
struct Want {
  LimitId limit = 0;
  Micro rate = 0;       // wanted: spent and first refusals, a second
  Micro need = 0;       // tokens that somebody waits for at once; 0: none
  Micro returned = 0;   // tokens of a fill that were not spent and are given back by this request
  Micro keep_rate = 0;  // terms that the host has already cut itself down to: what it gives back
  Micro keep_burst = 0;
  std::uint64_t spent_total = 0;    // whole tokens, since the identity began
  std::uint64_t refused_total = 0;  // first refusals, whole tokens
};

struct Request {
  SessionId session = 0;
  std::uint64_t seq = 0;           // one is under way at a time; a repeated one is the same bytes
  std::uint64_t accepted_seq = 0;  // the newest answer that was taken
  std::vector<Want> wants;
};

struct Grant {
  LimitId limit = 0;
  Terms terms;
  Micro fill = 0;  // tokens that come with it, out of the server's own bucket
  std::uint64_t proof = 0;
  std::uint32_t hosts = 0;  // that the limit is divided among
};

struct Answer {
  SessionId session = 0;
  std::uint64_t epoch = 0;
  std::uint64_t seq = 0;
  TimeNs ttl_ns = 0;  // of every lease of the session, from when the request was first sent
  TimeNs tail_ns = 0;
  TimeNs refresh_ns = 0;
  // The server's own time since the session began. A host whose clock runs away sees by it that it
  // has minted more than its leases allow.
  TimeNs server_ns = 0;
  bool busy = false;      // keep what you have, for ttl; nothing was decided
  bool learning = false;  // the server has just started and grants nothing beyond what is held
  std::vector<Grant> grants;
};

struct Ack {
  SessionId session = 0;
  std::uint64_t seq = 0;
};

// 'Ask now': grants and extends nothing.
struct Poke {
  SessionId session = 0;
};

// Every lease of the session was withdrawn before this was said.
struct Goodbye {
  SessionId session = 0;
};

}  // namespace weir::lease
