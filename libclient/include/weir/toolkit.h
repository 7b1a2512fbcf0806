/* weir/toolkit.h: bulkheads, load shedding, circuit breakers, retry budgets, degradation and
 * deadlines, shared by all processes of a host. The C ABI of libweir, beside weir.h.
 *
 * A resource is what may be overloaded: this service itself, or another one that it calls. The
 * agent's rules say by name which tools apply to it. The shortest use is the guard:
 *
 *     weir_guard guard;
 *     weir_guard_options ask = {.struct_bytes = sizeof(ask), .resource = orders};
 *     if (weir_guard_begin(&ask, &guard) == WEIR_ALLOW) {
 *       int ok = handle_it();
 *       weir_guard_end(&guard, ok ? WEIR_DONE_OK : WEIR_DONE_FAILED);
 *     }
 *
 * [hot] and [setup] mean what they mean in weir.h. [warm] is [hot] but for the first call of a
 * thread or after a change of the agent, which may make a few system calls.
 *
 * Without an agent, or where its rules do not know the name, everything is allowed: nothing is
 * counted, shed or broken, and retries follow the defaults within this process. When an agent that
 * knew the resource dies, the last concurrency limit stays in force and dead holders are reaped by
 * whoever finds it full; breakers go on by themselves (consecutive failures, probes); shedding,
 * throttling and degradation end once the agent's heartbeat is stale; retries live from what is
 * left of the budget and then from its floor.
 */
/* The columns of the comments are part of the text. */
/* clang-format off */
#ifndef WEIR_TOOLKIT_H
#define WEIR_TOOLKIT_H

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Why not. Each is a refusal, as WEIR_DENY is of a limit. */
#define WEIR_DENY_FULL 16      /* all permits of the resource are taken */
#define WEIR_DENY_SHED 17      /* the host is overloaded; do not try again here */
#define WEIR_DENY_OPEN 18      /* the breaker is open */
#define WEIR_DENY_THROTTLED 19 /* the other end refuses most of what it gets */
#define WEIR_DENY_DEADLINE 20  /* the work could not be done in time */
#define WEIR_DENY_RETRY 21     /* trying again is no use, or not allowed */
#define WEIR_DENY_BUDGET 22    /* the host's retry budget is used up */

/* How a call ended. */
#define WEIR_DONE_OK 0
#define WEIR_DONE_FAILED 1  /* counts against the breaker */
#define WEIR_DONE_IGNORED 2 /* neither: cancelled by the caller, or the caller's own mistake */

typedef struct weir_resource weir_resource; /* opaque; lives as long as its client */
typedef struct weir_feature weir_feature;   /* opaque; lives as long as its client */

/* The resource or feature of that name (1..127 bytes). [setup] The same name gives the same handle.
 * WEIR_OK, WEIR_E_INVALID, WEIR_E_NO_MEMORY, WEIR_E_LIMIT (16384 resources, 1024 features). */
WEIR_API weir_status weir_resource_get(weir_client *client, const char *name,
                                       weir_resource **resource);
WEIR_API weir_status weir_feature_get(weir_client *client, const char *name,
                                      weir_feature **feature);

/* ---- concurrency limits -------------------------------------------------------------------- */

/* One permit. Belongs to one thread at a time; may be left by another thread than entered. */
typedef struct weir_entry {
  uint64_t opaque[3];
} weir_entry;

/* Takes one permit of the host for a call of a class. [warm] Never waits.
 * A process that dies holding permits, at any instruction, gives them back: at the latest when the
 * agent has seen its end, without an agent when somebody finds the resource full. After fork() the
 * permits are the parent's; the child's weir_leave of one does nothing.
 * WEIR_ALLOW, WEIR_DENY_FULL, WEIR_E_INVALID. */
WEIR_API weir_status weir_enter(weir_resource *resource, int32_t priority_class,
                                weir_entry *entry);

/* Gives the permit back. A second call does nothing. [warm] WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_leave(weir_entry *entry);

/* Permits in use on this host now, at least 0; 0 without an agent's rule. [hot] */
WEIR_API weir_status weir_in_flight(weir_resource *resource, uint64_t *in_flight);

/* ---- shedding and throttling ---------------------------------------------------------------- */

/* Should this call be refused because the host is overloaded? [hot] Counts it as asked; with
 * WEIR_RETRY or-ed to the class it does not count. Writes no line that another CPU writes.
 * WEIR_ALLOW, WEIR_DENY_SHED, WEIR_E_INVALID. */
WEIR_API weir_status weir_shed(weir_resource *resource, int32_t priority_class);

/* Should this call to an overloaded other end be refused on this side? [hot]
 * WEIR_ALLOW, WEIR_DENY_THROTTLED, WEIR_E_INVALID. */
WEIR_API weir_status weir_throttle(weir_resource *resource);

/* ---- breakers and outcomes ------------------------------------------------------------------ */

/* One call: from the breaker's permission to its outcome. */
typedef struct weir_call {
  uint64_t opaque[5];
} weir_call;

/* Asks the breaker and starts the clock. [hot] When an open breaker's time is up, one call of the
 * whole host is let through as its probe; if the prober dies or never reports, the next one
 * follows after the probe's deadline. *retry_after_ns, if not NULL, receives how long the breaker
 * stays open at least. WEIR_ALLOW, WEIR_DENY_OPEN, WEIR_E_INVALID. */
WEIR_API weir_status weir_call_begin(weir_resource *resource, weir_call *call,
                                     uint64_t *retry_after_ns);

/* Reports WEIR_DONE_...: response time and outcome count for shedder, throttle and breaker. [warm]
 * An allowed call that is never reported counts for nothing. A second call does nothing.
 * WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_call_end(weir_call *call, int32_t outcome);

/* The same with a time that the caller measured, 0..24 h, in nanoseconds. [warm] */
WEIR_API weir_status weir_call_end_after(weir_call *call, int32_t outcome, uint64_t elapsed_ns);

/* ---- retries -------------------------------------------------------------------------------- */

/* What a failed attempt says about another one. Pass WEIR_HINT_OVERLOADED up through all layers:
 * if each of four tried three times, one request would become 81. */
#define WEIR_HINT_MAY_HELP 0
#define WEIR_HINT_USELESS 1
#define WEIR_HINT_OVERLOADED 2

typedef struct weir_retry_ask {
  uint32_t struct_bytes;
  int32_t hint;                 /* WEIR_HINT_... */
  uint32_t attempts_made;       /* of this request; 0 means 1 */
  uint32_t reserved;            /* 0 */
  int64_t deadline_mono_ns;     /* of the caller; 0: none */
  uint64_t expected_ns;         /* what an attempt usually takes; 0: unknown */
  uint64_t retry_after_ns;      /* what the other end asked for; 0: nothing */
} weir_retry_ask;

/* May this request be tried again, and after which wait? [hot] Takes one retry out of the host's
 * budget last, so that nothing is taken for a retry that cannot be made. *wait_ns is written on
 * WEIR_ALLOW: full jitter, or the other end's wish.
 * WEIR_ALLOW, WEIR_DENY_RETRY, WEIR_DENY_SHED (overloaded: pass it on), WEIR_DENY_DEADLINE,
 * WEIR_DENY_BUDGET, WEIR_E_INVALID. */
WEIR_API weir_status weir_retry(weir_resource *resource, const weir_retry_ask *ask,
                                uint64_t *wait_ns);

/* ---- degradation ---------------------------------------------------------------------------- */

/* 1: leave the feature out of this request, 0: serve it whole. [hot] Drills say 1 to a small share
 * of requests on purpose. 0 without an agent, and for a feature that no rule knows. */
WEIR_API int32_t weir_degraded(weir_feature *feature);

/* ---- deadlines ------------------------------------------------------------------------------ */

/* Moments of CLOCK_MONOTONIC of this process, in nanoseconds. timeout_ns: what the caller asked
 * for; 0: nothing was said, so default_ns (0: 5 s); negative: over already. Never later than
 * max_ns (0: 60 s) from now. [hot] */
WEIR_API int64_t weir_deadline_after(int64_t timeout_ns, int64_t default_ns, int64_t max_ns);
/* The same with the default and the most that the agent's rules say of this resource; where no
 * agent knows it, or its rules say nothing of deadlines, 5 s and 60 s. What an agent said that is
 * gone by now stays in force. [hot] */
WEIR_API int64_t weir_deadline_for(weir_resource *resource, int64_t timeout_ns);
/* What is left, at least 0. [hot] */
WEIR_API int64_t weir_deadline_remaining(int64_t deadline_mono_ns);
/* The timeout of a call to the next layer: at most own_timeout_ns (0: none of its own), leaving
 * margin_ns to work with its answer. 0: do not call. [hot] */
WEIR_API int64_t weir_deadline_call_timeout(int64_t deadline_mono_ns, int64_t own_timeout_ns,
                                            int64_t margin_ns);
/* 1: work that usually takes expected_ns can still be of use. [hot] */
WEIR_API int32_t weir_deadline_can_finish(int64_t deadline_mono_ns, int64_t expected_ns);

/* ---- the guard ------------------------------------------------------------------------------ */

/* Everything that stands before one piece of work, in the order in which refusing is cheapest:
 * deadline, breaker (a look), throttle, shedder, bulkhead, tenant's bulkhead, limit, breaker (the
 * probe). What was taken is given back when a later one refuses. Zero means: not asked. */
typedef struct weir_guard_options {
  uint32_t struct_bytes;
  int32_t priority_class;    /* WEIR_CRITICAL_PLUS is 0; or WEIR_RETRY */
  weir_resource *resource;
  weir_limit *limit;
  uint32_t tokens;           /* of the limit; 0 means 1 */
  uint32_t reserved;         /* 0 */
  int64_t deadline_mono_ns;
  uint64_t expected_ns;      /* what the work usually takes */
  weir_resource *tenant;     /* the resource "orders/gold": a permit of that part, too */
} weir_guard_options;

typedef struct weir_guard {
  uint64_t opaque[12];
} weir_guard;

/* [warm] WEIR_ALLOW, WEIR_DENY (the limit), WEIR_DENY_..., WEIR_E_INVALID. *guard is always valid
 * for weir_guard_end, which does nothing after a refusal. */
WEIR_API weir_status weir_guard_begin(const weir_guard_options *options, weir_guard *guard);
/* Reports the outcome and leaves. A second call does nothing. [warm] WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_guard_end(weir_guard *guard, int32_t outcome);

/* ---- load feedback -------------------------------------------------------------------------- */

/* What this host tells balancers. Negative: unknown. Growing at the end only. */
typedef struct weir_load {
  uint32_t struct_bytes;        /* in: what the caller knows; out: what was filled */
  int32_t breaker_state;        /* 0 closed, 1 open, 2 probing, 3 forced open, 4 forced closed */
  double cpu_utilization;       /* 1 is all that the host may use */
  double in_flight;
  double limit;
  double requests_per_second;
  double errors_per_second;
  double shed_share;            /* 0..1, refused of asked */
  double utilization;           /* the worst of these, for weighting; above 1: it sheds */
} weir_load;

/* [hot] WEIR_OK, WEIR_E_INVALID. */
WEIR_API weir_status weir_load_read(weir_resource *resource, weir_load *load);

#define WEIR_ORCA_NAME "endpoint-load-metrics"
#define WEIR_ORCA_TEXT 0
#define WEIR_ORCA_JSON 1
/* The value of that response header, zero-terminated; *bytes_needed, if not NULL, receives its
 * length with the zero. [setup] WEIR_OK, WEIR_E_TOO_LARGE (text is then untouched),
 * WEIR_E_INVALID, WEIR_E_NO_MEMORY. */
WEIR_API weir_status weir_orca(weir_resource *resource, int32_t format, char *text,
                               size_t text_bytes, size_t *bytes_needed);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_TOOLKIT_H */
