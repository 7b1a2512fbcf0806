/* weir/weir.h: rate limits shared by all processes of a host. The C ABI of libweir.
 *
 * A process opens one client, asks it for limits by name, and takes tokens from them:
 *
 *     weir_client *client;
 *     weir_limit *orders;
 *     weir_open(NULL, &client);
 *     weir_limit_get(client, "/api/order", NULL, &orders);
 *     if (weir_try_acquire(orders, 1) == WEIR_ALLOW) handle_it();
 *
 * Every function is thread-safe. What is said of a function beyond that:
 *   [hot]    never blocks, allocates, logs, takes a lock or touches errno; async-signal-safe;
 *            may be called in a child after fork(). A bounded number of steps, always.
 *   [setup]  may allocate and make system calls; not for signal handlers.
 *
 * Without an agent nothing fails: a limit follows the options given to weir_limit_get until an
 * agent knows it, and the rule's own fallback once an agent that knew it is gone.
 *
 * The ABI only grows: structs at their end (struct_bytes says how much of one the caller knows),
 * functions by new names. Nothing is removed inside a major version of the shared library.
 * After vfork() no function may be called before exec.
 */
/* The columns of the comments are part of the text. */
/* clang-format off */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && __GNUC__ >= 4
#define WEIR_API __attribute__((visibility("default")))
#else
#define WEIR_API
#endif

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

typedef struct weir_client weir_client; /* opaque; one a process is enough */
typedef struct weir_limit weir_limit;   /* opaque; lives as long as its client */
typedef int32_t weir_status;            /* >= 0 decisions, < 0 errors */

#define WEIR_OK 0
#define WEIR_ALLOW 0           /* the tokens are the caller's */
#define WEIR_DENY 1            /* not now */
#define WEIR_PENDING 2         /* weir_wait_poll: still in the queue */
#define WEIR_E_INVALID (-1)    /* an argument is out of its range */
#define WEIR_E_NO_AGENT (-2)   /* no agent answers; only where one was demanded */
#define WEIR_E_NO_MEMORY (-3)  /* out of memory, or of descriptors, while setting up */
#define WEIR_E_VERSION (-4)    /* the agent speaks another major version */
#define WEIR_E_NOT_ALLOWED (-5) /* the agent refused: this user may not use the domain */
#define WEIR_E_LIMIT (-6)      /* too many clients of this user, or too many limits */
#define WEIR_E_BUSY (-7)       /* the agent takes no more clients at the moment */
#define WEIR_E_UNTRUSTED (-8)  /* whoever answers at the socket is not a weir agent */
#define WEIR_E_TOO_LARGE (-9)  /* more tokens than the bucket can ever hold */
#define WEIR_E_UNKNOWN (-10)   /* no such limit, and no rule for it was given in code */

/* Whose call it is. A limit's rule may keep a share of its bucket from the lower classes. */
#define WEIR_CRITICAL_PLUS 0
#define WEIR_CRITICAL 1 /* the default */
#define WEIR_SHEDDABLE_PLUS 2
#define WEIR_SHEDDABLE 3
/* Or-ed to a class: the call was refused before and is tried again. Hosts share a cluster's limit
 * by what they spend and what they refuse; a refused retry adds nothing to that, so that a storm
 * of retries takes no share from others. Nothing else differs. */
#define WEIR_RETRY 0x100

/* What to do while no agent knows the limit. */
#define WEIR_MODE_DEFAULT 0 /* open, or local when an amount is given */
#define WEIR_MODE_LOCAL 1   /* a bucket of this process: amount, period_ns, burst */
#define WEIR_MODE_OPEN 2    /* let everything through */
#define WEIR_MODE_CLOSED 3  /* let nothing through */

/* Callers set struct_bytes = sizeof(weir_options) and leave the rest zero for defaults. */
typedef struct weir_options {
  uint32_t struct_bytes;
  uint32_t connect_timeout_ms;  /* how long weir_open waits for an agent; 0 means 200 */
  const char *socket_path;      /* NULL: $WEIR_SOCKET, then /run/weir/agent.sock */
  uint32_t require_agent;       /* 1: weir_open fails with WEIR_E_NO_AGENT without one */
  uint32_t reserved;            /* 0 */
  const char *label;            /* shown by `weir clients`; NULL: the program's name */
} weir_options;

typedef struct weir_limit_options {
  uint32_t struct_bytes;
  int32_t mode;       /* WEIR_MODE_... */
  uint64_t amount;    /* local: tokens in each period, 1..2^40 */
  uint64_t period_ns; /* 0 means one second */
  uint64_t burst;     /* most tokens at once; 0 means amount, at least 1 */
} weir_limit_options;

/* A limit as it is now. Growing at the end only. */
typedef struct weir_limit_info {
  uint32_t struct_bytes;   /* in: what the caller knows; out: what was filled */
  int32_t shared;          /* 1: the host's bucket; 0: this process's own */
  int32_t agent_alive;     /* 1: the agent's heartbeat is fresh */
  int32_t algorithm;       /* 0 none, 1 token bucket, 2 leaky, 3 fixed, 4 sliding window */
  int64_t tokens;          /* that can be taken now */
  uint64_t amount;         /* the rule in force: tokens in each period */
  uint64_t period_ns;
  uint64_t burst;
  uint64_t refused_total;  /* of the whole host since the counters were made */
  uint64_t owed;           /* tokens that queued waiters are owed */
} weir_limit_info;

/* A call that waits without a thread: see weir_wait_begin. */
typedef struct weir_wait {
  uint64_t opaque[8];
} weir_wait;

/* Opens a client. [setup]
 * options may be NULL. Without an agent the client still opens, unless require_agent is set, and
 * attaches by itself, in passing, when one comes. *client is only written on success.
 * WEIR_OK, WEIR_E_INVALID, WEIR_E_NO_MEMORY; with require_agent also WEIR_E_NO_AGENT,
 * WEIR_E_VERSION, WEIR_E_NOT_ALLOWED, WEIR_E_LIMIT, WEIR_E_BUSY, WEIR_E_UNTRUSTED. */
WEIR_API weir_status weir_open(const weir_options *options, weir_client **client);

/* Frees the client and all its limits. No other call may be under way or follow. [setup] */
WEIR_API void weir_close(weir_client *client);

/* The limit of that name (1..127 bytes, as in the agent's rules). [setup]
 * options say what to do while no agent knows the name; NULL means open. The same name gives the
 * same handle; the first caller's options stay. Limits are never freed before the client.
 * WEIR_OK, WEIR_E_INVALID, WEIR_E_NO_MEMORY, WEIR_E_LIMIT (4096 limits a client). */
WEIR_API weir_status weir_limit_get(weir_client *client, const char *name,
                                    const weir_limit_options *options, weir_limit **limit);

/* Takes n tokens (1..2^32-1), all or none. [hot]
 * WEIR_ALLOW, WEIR_DENY, WEIR_E_INVALID. */
WEIR_API weir_status weir_try_acquire(weir_limit *limit, uint32_t n);

/* The same for a call of a class. [hot] */
WEIR_API weir_status weir_try_acquire_class(weir_limit *limit, uint32_t n, int32_t priority_class);

/* Takes n tokens, waiting in turn for at most timeout_ns. [setup: it sleeps, but never allocates]
 * A wait that would be longer than the timeout fails at once. wait_ns, if not NULL, receives how
 * long the call waited (WEIR_ALLOW) or would have had to wait (WEIR_DENY; UINT64_MAX when that
 * cannot be known). Up to 16 calls a process wait in the host's queue, in order; further ones
 * retry by themselves.
 * WEIR_ALLOW, WEIR_DENY, WEIR_E_INVALID, WEIR_E_TOO_LARGE. */
WEIR_API weir_status weir_acquire(weir_limit *limit, uint32_t n, uint64_t timeout_ns,
                                  uint64_t *wait_ns);
WEIR_API weir_status weir_acquire_class(weir_limit *limit, uint32_t n, int32_t priority_class,
                                        uint64_t timeout_ns, uint64_t *wait_ns);

/* The same for event loops: begin, then poll when *poll_after_ns has passed, until the answer is
 * not WEIR_PENDING. An abandoned wait must be cancelled; cancelling a finished one does nothing.
 * A wait belongs to one thread at a time. begin and cancel: [setup]; poll: [hot]. */
WEIR_API weir_status weir_wait_begin(weir_limit *limit, uint32_t n, int32_t priority_class,
                                     uint64_t timeout_ns, weir_wait *wait,
                                     uint64_t *poll_after_ns);
WEIR_API weir_status weir_wait_poll(weir_wait *wait, uint64_t *poll_after_ns);
WEIR_API void weir_wait_cancel(weir_wait *wait);

/* Gives back n tokens that were acquired and not used. [hot] The next mint folds them in; what
 * the bucket has no room for is void, and so is what comes back within the tick (1 ms) in which
 * the bucket was still full. WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_refund(weir_limit *limit, uint32_t n);

/* Takes all tokens that are there; *taken receives how many. [hot] WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_drain(weir_limit *limit, uint64_t *taken);

/* How many tokens could be taken now, at least 0. Advisory: others spend meanwhile. Without an
 * agent the time since the last refused call is not counted in yet. [hot] */
WEIR_API weir_status weir_peek(weir_limit *limit, uint64_t *tokens);

/* In how many nanoseconds n tokens are likely to be there: 0 when they are there now, UINT64_MAX
 * when never. [hot] WEIR_OK, WEIR_E_INVALID, WEIR_E_TOO_LARGE. */
WEIR_API weir_status weir_retry_after(weir_limit *limit, uint32_t n, uint64_t *wait_ns);

/* The limit as it is now. [hot] WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_limit_read(weir_limit *limit, weir_limit_info *info);

/* Whether an agent serves this client: WEIR_OK, or why not (WEIR_E_NO_AGENT, WEIR_E_VERSION,
 * WEIR_E_NOT_ALLOWED, WEIR_E_LIMIT, WEIR_E_BUSY, WEIR_E_UNTRUSTED). [hot] */
WEIR_API weir_status weir_client_state(weir_client *client);

/* Tries to attach now, waiting up to timeout_ms. [setup] Answers as weir_client_state. */
WEIR_API weir_status weir_attach(weir_client *client, uint32_t timeout_ms);

/* A static text for a status. Never NULL. [hot] */
WEIR_API const char *weir_strerror(weir_status status);

/* "0.1.0". [hot] */
WEIR_API const char *weir_version(void);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_WEIR_H */
