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
 * WEIR_ALLOW, WEIR_DENY, WEIR_E_INVALID.
 * In C99 and C++11 on x86-64 Linux the common case of n == 1 is compiled into the caller: see the
 * end of this header. The function is there for everybody else, and is what &weir_try_acquire and
 * (weir_try_acquire)(limit, n) mean. */
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

/* ---------------------------------------------------------------- what is compiled into callers
 *
 * A call into a shared library and back takes longer than most of what weir_try_acquire does. So
 * its common cases with n == 1 are here; all others call the library, which also has all of them.
 * -DWEIR_NO_INLINE leaves everything to the library.
 *
 * Nothing below is for programs to use or to rely on. Handles begin with a weir_limit_head, which
 * the library alone writes. Its layout belongs to the symbol version WEIR_HEAD_1 of the functions
 * below: a library with another layout does not have that version, and the dynamic linker says so
 * when the program starts. A library may leave all words of a head 0, and `expected` different
 * from what `hot` points to: then every call goes to the library.
 */
#if !defined(WEIR_NO_INLINE) && defined(__x86_64__) && defined(__LP64__) && \
    defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && \
    ((defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L) || \
     (defined(__cplusplus) && __cplusplus >= 201103L))
#if __GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 35)
#define WEIR_INLINE 1
#endif
#endif

/* WEIR_HEAD_1. Everything but a refusal of one token, and the taking of one. [hot] */
WEIR_API weir_status weir_try_acquire_head1(weir_limit *limit, uint32_t n);
/* WEIR_HEAD_1. What is due now and then after a refusal that the caller has counted. [hot] */
WEIR_API weir_status weir_refused_head1(weir_limit *limit);

#ifdef WEIR_INLINE

#define WEIR_HEAD_CPUS 256

/* The library's words, as another translation unit may see them. */
typedef uint64_t __attribute__((__may_alias__)) weir_word;
typedef uint32_t __attribute__((__may_alias__)) weir_half;

struct weir_limit_head {
  weir_word expected;             /* the hot word of the slot that the handle is bound to */
  const weir_word *hot;           /* what it is now; bits: 1 in use, 2 striped, 4 has a reserve */
  weir_word *bucket;              /* tokens; 128 bytes on: epoch and closed */
  weir_word *stripes;             /* one of 128 bytes a CPU: taken, granted */
  weir_half stripe_cpus;          /* 0: none that can be used here */
  weir_half form;                 /* 1, for debuggers */
  weir_word dry_beat;             /* the heartbeat under which the bucket is dry; or 0 */
  const weir_word *beat;          /* the agent's heartbeat now */
  weir_word reserved[9];
  weir_word *lanes[WEIR_HEAD_CPUS]; /* counters of refusals, or NULL */
} __attribute__((__may_alias__));

/* A restartable sequence: the kernel sends the thread to the handler when it was interrupted
 * between 1 and 2, before the last instruction, which alone has an effect. The tables belong to the
 * section group of the function, so that they go when it goes. */
#define WEIR_SEQUENCE_BEGIN_ \
  ".pushsection __rseq_cs, \"aw?\"\n\t" \
  ".balign 32\n\t" \
  "77:\n\t" \
  ".long 0, 0\n\t" \
  ".quad 1f, (2f - 1f), 4f\n\t" \
  ".popsection\n\t" \
  "leaq 77b(%%rip), %%rax\n\t" \
  "movq %%rax, %%fs:8(%[area])\n\t" \
  "1:\n\t"
#define WEIR_SEQUENCE_END_ \
  "2:\n\t" \
  ".pushsection __rseq_failure, \"ax?\"\n\t" \
  ".byte 0x0f, 0xb9, 0x3d\n\t" \
  ".long 0x53053053\n\t" \
  "4:\n\t" \
  "jmp %l[aside]\n\t" \
  ".popsection\n\t"

/* The kernel reads the table after the sequence too, when the thread is next interrupted, and
 * kills it if the table is gone. What may be unloaded must not leave its table there. */
#if defined(__PIC__) && !defined(__PIE__) && !defined(WEIR_STAYS_LOADED)
#define WEIR_SEQUENCE_LEAVE_(area) \
  __asm__ __volatile__("movq $0, %%fs:8(%0)" : : "r"(area) : "memory")
#else
#define WEIR_SEQUENCE_LEAVE_(area) ((void)(area))
#endif

#ifdef __cplusplus
#define WEIR_INLINE_ inline __attribute__((__always_inline__))
#else
#define WEIR_INLINE_ static inline __attribute__((__always_inline__, __unused__))
#endif

/* Where the thread's rseq area lies from its thread pointer. Not volatile: it never changes. */
WEIR_INLINE_ ptrdiff_t weir_rseq_area(void) {
  ptrdiff_t area;
  __asm__("movq __rseq_offset@GOTPCREL(%%rip), %0\n\tmovq (%0), %0" : "=r"(area));
  return area;
}

/* The order of the branches is for refusals, then for stripes: both are shorter than a jump's worth
 * of the locked subtraction that the third way ends with. */
WEIR_INLINE_ weir_status weir_try_acquire_inline(weir_limit *limit, uint32_t n) {
  const struct weir_limit_head *head = (const struct weir_limit_head *)(const void *)limit;
  const ptrdiff_t area = weir_rseq_area();
  uint64_t dry, expected;
  if (__builtin_expect(n != 1 || limit == NULL, 0)) return weir_try_acquire_head1(limit, n);

  /* acquire, all: what is read next is at least as new as the word that it is compared with. */
  dry = __atomic_load_n(&head->dry_beat, __ATOMIC_ACQUIRE);
  if (__builtin_expect(dry != 0, 1)) {
    const weir_word *beat = __atomic_load_n(&head->beat, __ATOMIC_RELAXED);
    /* Under the same heartbeat: counts the refusal on this CPU's lane. One in 256 goes to the
     * library, so that a heartbeat that has stopped is noticed. */
    __asm__ goto("cmpq (%[beat]), %[dry]\n\t"
                 "jne %l[fresh]\n\t" WEIR_SEQUENCE_BEGIN_
                 "movl %%fs:4(%[area]), %%eax\n\t"
                 "cmpl %[cpus], %%eax\n\t"
                 "jae %l[aside]\n\t"
                 "movq %c[lanes](%[head], %%rax, 8), %%rax\n\t"
                 "testq %%rax, %%rax\n\t"
                 "jz %l[aside]\n\t"
                 "movq (%%rax), %%rcx\n\t"
                 "incq %%rcx\n\t"
                 "movq %%rcx, (%%rax)\n\t" WEIR_SEQUENCE_END_
                 "testb %%cl, %%cl\n\t"
                 "jz %l[due]\n\t"
                 :
                 : [area] "r"(area), [head] "r"(head), [dry] "r"(dry), [beat] "r"(beat),
                   [cpus] "i"(WEIR_HEAD_CPUS),
                   [lanes] "i"(offsetof(struct weir_limit_head, lanes))
                 : "memory", "cc", "rax", "rcx"
                 : aside, due, fresh);
    WEIR_SEQUENCE_LEAVE_(area);
    return WEIR_DENY;
  }

fresh:
  expected = __atomic_load_n(&head->expected, __ATOMIC_ACQUIRE);
  if (__builtin_expect(__atomic_load_n(__atomic_load_n(&head->hot, __ATOMIC_RELAXED),
                                       __ATOMIC_RELAXED) != expected, 0))
    return weir_try_acquire_head1(limit, 1);
  if (__builtin_expect((expected & 6) == 2, 1)) {
    /* From this CPU's stripe. */
    __asm__ goto(WEIR_SEQUENCE_BEGIN_
                 "movl %%fs:4(%[area]), %%eax\n\t"
                 "cmpl %c[cpus](%[head]), %%eax\n\t"
                 "jae %l[aside]\n\t"
                 "shlq $7, %%rax\n\t"
                 "addq %c[stripes](%[head]), %%rax\n\t"
                 "movq (%%rax), %%rcx\n\t"
                 "addq $1, %%rcx\n\t"
                 "jc %l[aside]\n\t"
                 "cmpq 8(%%rax), %%rcx\n\t"
                 "ja %l[aside]\n\t"
                 "movq %%rcx, (%%rax)\n\t" WEIR_SEQUENCE_END_
                 :
                 : [area] "r"(area), [head] "r"(head),
                   [cpus] "i"(offsetof(struct weir_limit_head, stripe_cpus)),
                   [stripes] "i"(offsetof(struct weir_limit_head, stripes))
                 : "memory", "cc", "rax", "rcx"
                 : aside);
    WEIR_SEQUENCE_LEAVE_(area);
    return WEIR_ALLOW;
  }
  if ((expected & 6) == 0) {
    weir_word *bucket = __atomic_load_n(&head->bucket, __ATOMIC_RELAXED);
    /* The gate: shut over nothing at all under this very epoch. */
    const uint64_t epoch = __atomic_load_n(bucket + 16, __ATOMIC_ACQUIRE);
    if (__builtin_expect(__atomic_load_n(bucket + 17, __ATOMIC_RELAXED) != epoch << 24, 1)) {
      const uint64_t before = __atomic_fetch_sub(bucket, 1, __ATOMIC_RELAXED);
      /* The count is in the lower 44 bits, with a bias of 2^42. A loser gives nothing back. */
      if (__builtin_expect((before & 0xfffffffffffU) > 0x40000000000U, 1)) return WEIR_ALLOW;
    }
  }
  return weir_try_acquire_head1(limit, 1);

due:
  WEIR_SEQUENCE_LEAVE_(area);
  return weir_refused_head1(limit);
aside:
  WEIR_SEQUENCE_LEAVE_(area);
  return weir_try_acquire_head1(limit, 1);
}

#define weir_try_acquire(...) weir_try_acquire_inline(__VA_ARGS__)

#endif /* WEIR_INLINE */

#ifdef __cplusplus
}
#endif

#endif /* WEIR_WEIR_H */
