/* weir/quota.h: quotas that last, such as prepaid calls, calls a month, tokens of a paid API. The
 * C ABI of libweir, beside weir.h.
 *
 * A quota is a count that is never handed out twice. It is kept for each key (an access token, a
 * customer) by a token server; the agent holds a part of the units of the keys in use, and any
 * process of the host takes from that part:
 *
 *     weir_quota *calls;
 *     weir_quota_get(client, "api-calls", &calls);
 *     weir_quota_permit permit;
 *     if (weir_quota_acquire(calls, key, strlen(key), 1, 0, &permit) == WEIR_ALLOW) {
 *       int ok = handle_it();
 *       weir_quota_end(&permit, ok ? WEIR_DONE_OK : WEIR_DONE_FAILED, NULL);
 *     }
 *
 * For work whose true cost is known only afterwards: acquire an estimate, then weir_quota_settle.
 *
 * [hot], [setup] and [warm] mean what they mean in toolkit.h. A key is warm while the agent holds
 * units of it; otherwise a call asks the agent, and the agent the server.
 *
 * Without an agent the units that are in memory can still be taken; nothing else is allowed: a
 * quota fails closed.
 */
/* The columns of the comments are part of the text. */
/* clang-format off */
#ifndef WEIR_QUOTA_H
#define WEIR_QUOTA_H

#include "weir/toolkit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Why not. */
#define WEIR_DENY_SPENT 32     /* no units are left, or none that this host could get in time */
#define WEIR_DENY_RATE 33      /* the key's own rate is reached */
#define WEIR_DENY_SUSPENDED 34 /* an operator has suspended the key */
#define WEIR_DENY_EXPIRED 35   /* the key's time is over */
#define WEIR_DENY_NO_KEY 36    /* the server knows no such key */
#define WEIR_E_UNAVAILABLE (-11) /* no answer in time: no agent, or no server that it reaches */

typedef struct weir_quota weir_quota; /* opaque; lives as long as its client */

/* Units that were taken, for saying later how the work went. Plain memory of the caller; nothing is
 * lost when it is forgotten, but nobody then hears of an outcome. Belongs to one thread at a time.
 */
typedef struct weir_quota_permit {
  uint64_t opaque[56];
} weir_quota_permit;

#define WEIR_QUOTA_KEY_MAX 383 /* bytes */
#define WEIR_QUOTA_REASON_MAX 128

/* The quota of that name, 1..127 bytes. [setup] The same name gives the same handle.
 * WEIR_OK, WEIR_E_INVALID, WEIR_E_NO_MEMORY, WEIR_E_LIMIT (256 names). */
WEIR_API weir_status weir_quota_get(weir_client *client, const char *name, weir_quota **quota);

/* Takes n units of a key if they are on this host. [warm] Never waits. Otherwise asks the agent for
 * them, so that a later call may find them, and says why not.
 * permit may be NULL: then no outcome will be reported.
 * WEIR_ALLOW; WEIR_DENY_... as the server last said; WEIR_PENDING: asked, not yet known;
 * WEIR_E_UNAVAILABLE, WEIR_E_INVALID (n is 0 or beyond 2^40; key_bytes is 0 or beyond
 * WEIR_QUOTA_KEY_MAX). */
WEIR_API weir_status weir_quota_try(weir_quota *quota, const char *key, size_t key_bytes,
                                    uint64_t n, weir_quota_permit *permit);

/* The same, waiting. timeout_ms of 0: for the server's answer, 250 ms at most. Otherwise so long,
 * while waiting may help: other hosts may give units back, a rate goes on.
 * Blocks only when the units are not on this host. Not for signal handlers.
 * WEIR_ALLOW, WEIR_DENY_..., WEIR_E_UNAVAILABLE, WEIR_E_INVALID. */
WEIR_API weir_status weir_quota_acquire(weir_quota *quota, const char *key, size_t key_bytes,
                                        uint64_t n, uint32_t timeout_ms,
                                        weir_quota_permit *permit);

/* What the work really cost: gives back what was too much, or takes what was too little, waiting
 * as acquire does. *taken, if not NULL, is what the permit then stands for. [setup]
 * WEIR_ALLOW; WEIR_DENY_...: less could be had than was used, and that much was taken;
 * WEIR_E_UNAVAILABLE, also when the agent could not be told of units that came back;
 * WEIR_E_INVALID: no permit, or one that has ended. */
WEIR_API weir_status weir_quota_settle(weir_quota_permit *permit, uint64_t cost,
                                       uint32_t timeout_ms, uint64_t *taken);

/* How the work went: WEIR_DONE_OK, WEIR_DONE_FAILED, or WEIR_DONE_IGNORED (it was not done: all
 * units go back). Writes a row of the audit log, with the reason (NULL: none; cut off after
 * WEIR_QUOTA_REASON_MAX bytes). When the rows of this host wait in a queue that is full, this waits
 * too, 100 ms at most, then drops the row and counts it. After WEIR_E_UNAVAILABLE (no agent) the
 * call may be made again; after all others a second one does nothing. [setup]
 * WEIR_OK, WEIR_E_BUSY (dropped), WEIR_E_UNAVAILABLE, WEIR_E_INVALID. */
WEIR_API weir_status weir_quota_end(weir_quota_permit *permit, int32_t outcome,
                                    const char *reason);

typedef struct weir_quota_info {
  uint32_t struct_bytes; /* in: what the caller knows; out: what was filled */
  int32_t status;        /* WEIR_ALLOW, WEIR_DENY_... or WEIR_PENDING, as the server last said */
  uint64_t here;         /* units on this host */
  uint64_t remaining;    /* at the server, when it last answered */
} weir_quota_info;

/* [warm] WEIR_OK, WEIR_PENDING: this host holds nothing of the key; WEIR_E_INVALID. */
WEIR_API weir_status weir_quota_read(weir_quota *quota, const char *key, size_t key_bytes,
                                     weir_quota_info *info);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_QUOTA_H */
