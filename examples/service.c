/* service.c: a service that protects itself and what it calls, in C99 with weir/toolkit.h.
 *
 *   service-c [RESOURCE [SECONDS]]      defaults: orders 5
 *
 * Build it alone:  cc -std=c99 service.c -o service-c $(pkg-config --cflags --libs weir)
 *
 * Each request has a deadline, a class, and one guard around the work: it asks the breaker, the
 * shedder, the concurrency limit, and gives back what it took whatever happens. Without an agent
 * everything passes.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weir/toolkit.h>

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The work: here it takes a millisecond, and every tenth fails. */
static int call_the_database(unsigned n) {
  const struct timespec time = {0, 1000000};
  nanosleep(&time, NULL);
  return n % 10 != 0;
}

static unsigned recommendations; /* that were worth their making */

/* The answer as an HTTP status. */
static int handle(weir_resource* orders, weir_feature* extras, unsigned n, char* load,
                  size_t load_bytes) {
  weir_guard guard;
  weir_guard_options ask = {0};
  weir_status may;
  int ok;
  ask.struct_bytes = sizeof(ask);
  ask.priority_class = n % 4 == 0 ? WEIR_SHEDDABLE : WEIR_CRITICAL;
  ask.resource = orders;
  /* What the caller asked for, the default and the most as the agent's rules say. */
  ask.deadline_mono_ns = weir_deadline_for(orders, 250 * 1000000);
  ask.expected_ns = 1000000;
  may = weir_guard_begin(&ask, &guard);
  if (may != WEIR_ALLOW) return may == WEIR_DENY_DEADLINE ? 504 : 503;
  ok = call_the_database(n);
  weir_guard_end(&guard, ok ? WEIR_DONE_OK : WEIR_DONE_FAILED);
  /* What is dispensable is left out while the host is full. */
  if (!weir_degraded(extras)) ++recommendations;
  /* The value of the response header endpoint-load-metrics, for balancers. */
  if (weir_orca(orders, WEIR_ORCA_TEXT, load, load_bytes, NULL) != WEIR_OK) load[0] = '\0';
  return ok ? 200 : 500;
}

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "orders";
  const double seconds = argc > 2 ? atof(argv[2]) : 5;
  unsigned n = 0, answered = 0, failed = 0, refused = 0;
  char load[512] = "";
  weir_client* client = NULL;
  weir_resource* orders = NULL;
  weir_feature* extras = NULL;
  int64_t end;
  if (weir_open(NULL, &client) != WEIR_OK || weir_resource_get(client, name, &orders) != WEIR_OK ||
      weir_feature_get(client, "recommendations", &extras) != WEIR_OK) {
    fprintf(stderr, "service-c: no memory, or '%s' is no name\n", name);
    return 1;
  }
  for (end = now_ns() + (int64_t)(seconds * 1e9); now_ns() < end; ++n) {
    switch (handle(orders, extras, n, load, sizeof(load))) {
      case 200:
        ++answered;
        break;
      case 500:
        ++failed;
        break;
      default: {
        const struct timespec pause = {0, 1000000};
        ++refused;
        nanosleep(&pause, NULL);
      }
    }
  }
  printf("asked=%u answered=%u failed=%u refused=%u recommendations=%u load='%s'\n", n, answered,
         failed, refused, recommendations, load);
  weir_close(client);
  return 0;
}
