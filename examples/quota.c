/* Takes units of a quota's key, one by one, until they are spent, and writes a byte for each.
 *
 *     quota-c NAME KEY [UNITS_PER_SECOND] >> taken
 *
 * $WEIR_SOCKET names the agent's socket. Ends when the server says that nothing is left, or on
 * SIGTERM. Standard output gets one byte a unit, as soon as it is taken. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "weir/quota.h"

static volatile sig_atomic_t stopped;
static void stop(int number) {
  (void)number;
  stopped = 1;
}

int main(int argc, char** argv) {
  weir_client* client;
  weir_quota* quota;
  weir_status status;
  struct timespec pause = {0, 0};
  if (argc < 3) {
    fprintf(stderr, "usage: %s NAME KEY [UNITS_PER_SECOND]\n", argv[0]);
    return 2;
  }
  if (argc > 3 && atol(argv[3]) > 1) pause.tv_nsec = 1000000000L / atol(argv[3]);
  signal(SIGTERM, stop);
  status = weir_open(NULL, &client);
  if (status == WEIR_OK) status = weir_quota_get(client, argv[1], &quota);
  if (status != WEIR_OK) {
    fprintf(stderr, "%s: %s\n", argv[0], weir_strerror(status));
    return 1;
  }
  while (!stopped) {
    weir_quota_permit permit;
    /* Up to two seconds: other hosts may give back what they do not need. */
    status = weir_quota_acquire(quota, argv[2], strlen(argv[2]), 1, 2000, &permit);
    if (status == WEIR_E_UNAVAILABLE) continue; /* an agent or a server is on its way back */
    if (status != WEIR_ALLOW) break;
    if (write(1, "C", 1) != 1) return 1;
    weir_quota_end(&permit, WEIR_DONE_OK, NULL);
    if (pause.tv_nsec != 0) nanosleep(&pause, NULL);
  }
  fprintf(stderr, "%s: %s\n", argv[0], stopped ? "stopped" : weir_strerror(status));
  weir_close(client);
  return 0;
}
