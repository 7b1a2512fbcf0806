/* load.c: asks one limit many times a second and counts the answers. C99, through the C ABI.
 *
 *   load-c [LIMIT [SECONDS [CALLS_PER_SECOND]]]      defaults: /api/order 5 2000
 *
 * It attaches at $WEIR_SOCKET, or at /run/weir/agent.sock. When it ends, by itself or on SIGTERM or
 * SIGINT, it prints one line:
 *
 *   asked=9990 admitted=1530 refused=8460 begin_ns=... end_ns=...
 *
 * begin_ns is CLOCK_MONOTONIC before its first call, end_ns after its last one: what several such
 * processes print adds up to what the whole host was admitted in that time. scripts/quickstart.sh
 * does the sum.
 *
 * Build it alone:  cc -std=c99 load.c -o load-c $(pkg-config --cflags --libs weir)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/weir.h>

static volatile sig_atomic_t stopped = 0;

static void stop(int number) {
  (void)number;
  stopped = 1;
}

static int64_t mono_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void sleep_until(int64_t at_mono_ns) {
  struct timespec at;
  at.tv_sec = (time_t)(at_mono_ns / 1000000000);
  at.tv_nsec = (long)(at_mono_ns % 1000000000);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR && !stopped)
    continue;
}

static weir_client* open_client(void) {
  weir_options options;
  memset(&options, 0, sizeof(options));   /* zero means the default, now and later */
  options.struct_bytes = sizeof(options); /* says which fields this program knows */
  options.require_agent = 1;              /* a load test without an agent tests nothing; a
                                             service leaves this 0 and works either way */
  weir_client* client = NULL;
  const weir_status status = weir_open(&options, &client);
  if (status == WEIR_OK) return client;
  fprintf(stderr, "load-c: %s\n", weir_strerror(status));
  exit(1);
}

static weir_limit* get_limit(weir_client* client, const char* name) {
  /* What to do until an agent knows the name: at most 100 a second, by this process alone. With
     NULL instead of options such a limit would be open. */
  weir_limit_options options;
  memset(&options, 0, sizeof(options));
  options.struct_bytes = sizeof(options);
  options.mode = WEIR_MODE_LOCAL;
  options.amount = 100;
  weir_limit* limit = NULL;
  const weir_status status = weir_limit_get(client, name, &options, &limit);
  if (status != WEIR_OK) {
    fprintf(stderr, "load-c: %s: %s\n", name, weir_strerror(status));
    exit(1);
  }
  weir_limit_info info;
  memset(&info, 0, sizeof(info));
  info.struct_bytes = sizeof(info);
  weir_limit_read(limit, &info);
  if (info.shared) return limit;
  fprintf(stderr, "load-c: the agent has no limit '%s'; `weir list` names them\n", name);
  exit(1);
}

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "/api/order";
  const double seconds = argc > 2 ? atof(argv[2]) : 5;
  const double calls_per_second = argc > 3 ? atof(argv[3]) : 2000;
  if (argc > 4 || !(seconds > 0) || !(calls_per_second > 0)) {
    fprintf(stderr, "usage: load-c [LIMIT [SECONDS [CALLS_PER_SECOND]]]\n");
    return 2;
  }
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  weir_client* client = open_client();
  weir_limit* limit = get_limit(client, name);

  const int64_t pause_ns = (int64_t)(1e9 / calls_per_second);
  uint64_t admitted = 0, refused = 0;
  const int64_t begin_ns = mono_ns();
  const int64_t stop_ns = begin_ns + (int64_t)(seconds * 1e9);
  int64_t next_ns = begin_ns, now_ns = begin_ns;
  while (now_ns < stop_ns && !stopped) {
    /* The whole use of the library: no lock, no system call, some nanoseconds. */
    if (weir_try_acquire(limit, 1) == WEIR_ALLOW)
      ++admitted;
    else
      ++refused;
    next_ns += pause_ns;
    now_ns = mono_ns();
    if (next_ns > now_ns) {
      sleep_until(next_ns);
      now_ns = mono_ns();
    } else {
      next_ns = now_ns; /* held up: go on from here, with no burst to catch up */
    }
  }
  printf("asked=%" PRIu64 " admitted=%" PRIu64 " refused=%" PRIu64 " begin_ns=%" PRId64
         " end_ns=%" PRId64 "\n",
         admitted + refused, admitted, refused, begin_ns, now_ns);
  weir_close(client);
  return 0;
}
