/* A C99 program that is linked with libweir.
 *
 *   consumer                    without an agent: a bucket of its own
 *   consumer SOCKET LIMIT N     takes N tokens of the agent's limit, and must be refused the next
 */
#include <stdio.h>
#include <stdlib.h>
#include <weir/weir.h>

static int report(const char* what, weir_status status) {
  fprintf(stderr, "consumer: %s: %s (%d)\n", what, weir_strerror(status), (int)status);
  return 1;
}

static int spend(weir_limit* limit, unsigned long tokens) {
  weir_status status = WEIR_OK;
  unsigned long taken = 0;
  while (taken <= tokens && (status = weir_try_acquire(limit, 1)) == WEIR_ALLOW)
    ++taken;
  if (taken == tokens && status == WEIR_DENY) return 0;
  fprintf(stderr, "consumer: %lu tokens came, not %lu; then: %s\n", taken, tokens,
          weir_strerror(status));
  return 1;
}

static int alone(void) {
  weir_options options = {sizeof(options), 0, "/proc/weir-no-agent.sock", 0, 0, NULL};
  weir_limit_options local = {sizeof(local), WEIR_MODE_LOCAL, 1, 3600000000000000u, 3};
  weir_client* client = NULL;
  weir_limit* limit = NULL;
  weir_status status = weir_open(&options, &client);
  int result;
  if (status != WEIR_OK) return report("weir_open", status);
  status = weir_limit_get(client, "alone", &local, &limit);
  if (status != WEIR_OK) return report("weir_limit_get", status);
  result = spend(limit, 3);
  weir_close(client);
  return result;
}

static int with_agent(const char* socket, const char* name, unsigned long tokens) {
  weir_options options = {sizeof(options), 20000, NULL, 1, 0, "consumer"};
  weir_limit_options closed = {sizeof(closed), WEIR_MODE_CLOSED, 0, 0, 0};
  weir_limit_info info = {sizeof(info), 0, 0, 0, 0, 0, 0, 0, 0, 0};
  weir_client* client = NULL;
  weir_limit* limit = NULL;
  weir_status status;
  uint64_t wait_ns = 0;
  options.socket_path = socket;
  status = weir_open(&options, &client);
  if (status != WEIR_OK) return report("weir_open", status);
  status = weir_limit_get(client, name, &closed, &limit);
  if (status != WEIR_OK) return report("weir_limit_get", status);
  status = weir_limit_read(limit, &info);
  if (status != WEIR_OK || info.shared != 1 || info.agent_alive != 1)
    return report("the limit is not the host's", status);
  if (spend(limit, tokens) != 0) return 1;
  if (weir_acquire(limit, 1, 1000000, &wait_ns) != WEIR_DENY || wait_ns < 1000000)
    return report("a wait that is too long is not refused at once", WEIR_DENY);
  printf("consumer: %u bits, %lu tokens of a burst of %lu\n", (unsigned)sizeof(void*) * 8, tokens,
         (unsigned long)info.burst);
  weir_close(client);
  return 0;
}

int main(int argc, char** argv) {
  if (weir_version()[0] == '\0') return 1;
  if (argc == 1) return alone();
  if (argc != 4) return 2;
  return with_agent(argv[1], argv[2], strtoul(argv[3], NULL, 10));
}
