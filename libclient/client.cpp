// Opening, closing, naming limits, and the small calls around them.
#include "libclient/quota.h"
#include "libclient/toolkit.h"

#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

using namespace weir::client;
using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint32_t kConnectTimeoutMs = 200;
constexpr char kSocketDefault[] = "/run/weir/agent.sock";

// The process's clients, for the fork handlers. Only setup calls and fork() take the lock; fork()
// holds it across, so that the child finds the list whole and the lock its own.
pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;
weir_client* all_clients = nullptr;

void before_fork() { ::pthread_mutex_lock(&clients_lock); }
void after_fork_in_parent() { ::pthread_mutex_unlock(&clients_lock); }

// The child keeps the mappings, which are the domain's, but not the connection, which is the
// parent's: it will make one of its own. Locks that another thread of the parent held are open.
void after_fork_in_child() {
  for (weir_client* c = all_clients; c != nullptr; c = c->next_client) {
    drop_link(*c);
    c->state.store(WEIR_E_NO_AGENT, kRelaxed);
    c->next_attempt_ns.store(0, kRelaxed);
    c->busy.store(false, kRelaxed);
    toolkit_after_fork(*c);
  }
  ::pthread_mutex_unlock(&clients_lock);
}

void register_client(weir_client& client) {
  static const int once = ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)once;
  ::pthread_mutex_lock(&clients_lock);
  client.next_client = all_clients;
  all_clients = &client;
  ::pthread_mutex_unlock(&clients_lock);
}

void unregister_client(weir_client& client) {
  ::pthread_mutex_lock(&clients_lock);
  for (weir_client** link = &all_clients; *link != nullptr; link = &(*link)->next_client)
    if (*link == &client) {
      *link = client.next_client;
      break;
    }
  ::pthread_mutex_unlock(&clients_lock);
}

std::uint32_t uid_of_weir() {
  struct passwd entry {};
  struct passwd* found = nullptr;
  char text[4096];
  if (::getpwnam_r("weir", &entry, text, sizeof(text), &found) != 0 || found == nullptr) return 0;
  return found->pw_uid;
}

weir_options known_part(const weir_options* options) {
  weir_options known{};
  if (options == nullptr) return known;
  std::memcpy(&known, options, std::min<std::size_t>(options->struct_bytes, sizeof(known)));
  return known;
}

bool setup(weir_client& client, const weir_options& options) {
  const char* path = options.socket_path;
  if (path == nullptr) path = ::secure_getenv("WEIR_SOCKET");
  if (path == nullptr || *path == '\0') path = kSocketDefault;
  if (std::strlen(path) >= client.socket_path.size()) return false;
  std::strncpy(client.socket_path.data(), path, client.socket_path.size() - 1);
  const char* label = options.label != nullptr ? options.label : program_invocation_short_name;
  std::strncpy(client.label.data(), label, client.label.size() - 1);
  client.agent_uid = uid_of_weir();
  client.timens_offset_ns = read_timens_offset_ns();
  // Any number that is not the agent's; terms are told apart by their expiry as well.
  client.holder = 2 + (static_cast<std::uint32_t>(::getpid()) * 2654435761U) % (kHolderMax - 2);
  return true;
}

weir_limit* find(weir_client& client, const char* name) {
  for (weir_limit* l = client.limits.load(std::memory_order_acquire); l != nullptr;
       l = l->next.load(std::memory_order_acquire))
    if (std::strcmp(l->name.data(), name) == 0) return l;
  return nullptr;
}

bool options_ok(const weir_limit_options& o) {
  return o.mode >= WEIR_MODE_DEFAULT && o.mode <= WEIR_MODE_CLOSED && o.burst <= kBurstMax &&
         o.amount <= kBurstMax && (o.mode != WEIR_MODE_LOCAL || o.amount != 0);
}

// Waits for the try-lock: setup calls may, hot ones never do.
class Setup {
 public:
  explicit Setup(weir_client& client) : client_(client) {
    while (client_.busy.exchange(true, std::memory_order_acquire))
      ::usleep(100);
  }
  ~Setup() { client_.busy.store(false, std::memory_order_release); }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

 private:
  weir_client& client_;
};

}  // namespace

extern "C" {

weir_status weir_open(const weir_options* options, weir_client** client) {
  const KeepErrno keep;
  if (client == nullptr) return WEIR_E_INVALID;
  if (options != nullptr && options->struct_bytes < sizeof(std::uint32_t)) return WEIR_E_INVALID;
  const weir_options known = known_part(options);
  auto* made = new (std::nothrow) weir_client;
  if (made == nullptr) return WEIR_E_NO_MEMORY;
  if (!setup(*made, known)) {
    delete made;
    return WEIR_E_INVALID;
  }
  const std::uint32_t timeout =
      known.connect_timeout_ms != 0 ? known.connect_timeout_ms : kConnectTimeoutMs;
  // Without a demand for an agent nobody wants to wait for one that is not there.
  const weir_status attached = attach_within(*made, known.require_agent != 0 ? timeout : 0);
  if (attached != WEIR_OK && made->link.load() == Link::hello_sent)
    (void)attach_within(*made, timeout);
  if (known.require_agent != 0 && made->state.load(kRelaxed) != WEIR_OK) {
    const weir_status why = made->state.load(kRelaxed);
    drop_link(*made);
    delete made;
    return why;
  }
  register_client(*made);
  *client = made;
  return WEIR_OK;
}

void weir_close(weir_client* client) {
  if (client == nullptr) return;
  const KeepErrno keep;
  unregister_client(*client);
  close_toolkit(*client);
  close_quotas(*client);
  drop_link(*client);
  for (weir_limit* l = client->limits.load(); l != nullptr;) {
    weir_limit* next = l->next.load();
    delete l;
    l = next;
  }
  delete client;
}

weir_status weir_limit_get(weir_client* client, const char* name, const weir_limit_options* options,
                           weir_limit** limit) {
  if (client == nullptr || name == nullptr || limit == nullptr) return WEIR_E_INVALID;
  const std::size_t length = ::strnlen(name, kNameBytesMax + 1);
  if (length == 0 || length > kNameBytesMax) return WEIR_E_INVALID;
  weir_limit_options known{};
  if (options != nullptr) {
    if (options->struct_bytes < sizeof(std::uint32_t)) return WEIR_E_INVALID;
    std::memcpy(&known, options, std::min<std::size_t>(options->struct_bytes, sizeof(known)));
    if (!options_ok(known)) return WEIR_E_INVALID;
  }
  const KeepErrno keep;
  const Setup lock(*client);
  if (weir_limit* found = find(*client, name); found != nullptr) {
    *limit = found;
    return WEIR_OK;
  }
  if (client->limits_count.load(kRelaxed) >= kLimitsPerClientMax) return WEIR_E_LIMIT;
  auto* made = new (std::nothrow) weir_limit;
  if (made == nullptr) return WEIR_E_NO_MEMORY;
  made->client = client;
  std::memcpy(made->name.data(), name, length);
  made->rseq_area = static_cast<std::int32_t>(rseq_area_offset());
  if (!make_private(*made, options != nullptr ? &known : nullptr)) {
    delete made;
    return WEIR_E_NO_MEMORY;
  }
  resolve(*made);
  made->next.store(client->limits.load(kRelaxed), kRelaxed);
  client->limits.store(made, std::memory_order_release);
  client->limits_count.fetch_add(1, kRelaxed);
  *limit = made;
  return WEIR_OK;
}

weir_status weir_refund(weir_limit* limit, uint32_t n) {
  if (limit == nullptr || n == 0) return WEIR_E_INVALID;
  // A word of its own: an addition to the bucket would race with the minter's clip.
  limit->slot.load(kRelaxed)->returned.fetch_add(n, kRelaxed);
  return WEIR_OK;
}

weir_status weir_drain(weir_limit* limit, uint64_t* taken) {
  if (limit == nullptr) return WEIR_E_INVALID;
  std::uint64_t sum = spend_up_to(*limit->slot.load(kRelaxed), kBurstMax);
  // Of the stripes only this CPU's can be taken, in halves until it is dry.
  StripeCell* stripes = limit->stripes.load(kRelaxed);
  const std::uint32_t count = limit->stripe_count.load(kRelaxed);
  if (stripes != nullptr)
    for (std::uint64_t n = std::uint64_t{1} << 40; n != 0; n >>= 1)
      while (take_from_stripe(limit->rseq_area, stripes, count, n))
        sum += n;
  if (taken != nullptr) *taken = sum;
  return WEIR_OK;
}

weir_status weir_peek(weir_limit* limit, uint64_t* tokens) {
  if (limit == nullptr || tokens == nullptr) return WEIR_E_INVALID;
  *tokens = level_of(*limit);
  return WEIR_OK;
}

weir_status weir_retry_after(weir_limit* limit, uint32_t n, uint64_t* wait_ns) {
  if (limit == nullptr || n == 0 || wait_ns == nullptr) return WEIR_E_INVALID;
  return estimate_wait(*limit, n, WEIR_CRITICAL, *wait_ns);
}

weir_status weir_limit_read(weir_limit* limit, weir_limit_info* info) {
  if (limit == nullptr || info == nullptr || info->struct_bytes < sizeof(std::uint32_t))
    return WEIR_E_INVALID;
  const Attachment& at = *limit->attachment.load(std::memory_order_acquire);
  const std::int64_t now = at.now_ns();
  weir_limit_info out{};
  out.struct_bytes = std::min<std::uint32_t>(info->struct_bytes, sizeof(out));
  out.shared = at.is_private ? 0 : 1;
  // The agent may well live and not know the limit.
  const Attachment* current = limit->client->current.load(std::memory_order_acquire);
  out.agent_alive = current != nullptr && current->agent_alive(current->now_ns()) ? 1 : 0;
  RuleCopy rule;
  if (rule_now(*limit, rule) && !(at.is_private && limit->mode != WEIR_MODE_LOCAL)) {
    const bool renewed = out.agent_alive != 0 && rule.cluster_burst == 0;
    const MintRule in_force = rule.terms.at(renewed ? INT64_MIN : now);
    out.algorithm = static_cast<std::int32_t>(in_force.algorithm);
    out.amount = in_force.amount;
    out.period_ns = in_force.period_ns;
    out.burst = in_force.burst;
    out.tokens = static_cast<std::int64_t>(level_of(*limit));
  }
  const std::uint32_t index = limit->index.load(kRelaxed);
  out.refused_total = at.counters.refused(index);
  out.owed = at.rules.live(index).owed.load(kRelaxed);
  std::memcpy(info, &out, out.struct_bytes);
  return WEIR_OK;
}

weir_status weir_client_state(weir_client* client) {
  if (client == nullptr) return WEIR_E_INVALID;
  const std::int64_t own_ns = read_mono_ns();
  maintain(*client, own_ns);
  const Attachment* at = client->current.load(std::memory_order_acquire);
  const weir_status state = client->state.load(kRelaxed);
  if (state == WEIR_OK && at != nullptr && !at->agent_alive(own_ns - at->offset_ns))
    return WEIR_E_NO_AGENT;
  return state;
}

weir_status weir_attach(weir_client* client, uint32_t timeout_ms) {
  if (client == nullptr) return WEIR_E_INVALID;
  return attach_within(*client, timeout_ms);
}

const char* weir_strerror(weir_status status) {
  switch (status) {
    case WEIR_ALLOW:
      return "allowed";
    case WEIR_DENY:
      return "refused: the limit is reached";
    case WEIR_DENY_FULL:
      return "refused: all permits of the resource are taken";
    case WEIR_DENY_SHED:
      return "refused: the host is overloaded";
    case WEIR_DENY_OPEN:
      return "refused: the breaker is open";
    case WEIR_DENY_THROTTLED:
      return "refused: the other end refuses most of what it gets";
    case WEIR_DENY_DEADLINE:
      return "refused: it could not be done in time";
    case WEIR_DENY_RETRY:
      return "refused: another attempt is no use or not allowed";
    case WEIR_DENY_BUDGET:
      return "refused: the retry budget is used up";
    case WEIR_DENY_SPENT:
      return "refused: no units of the quota are left";
    case WEIR_DENY_RATE:
      return "refused: the rate of the quota's key is reached";
    case WEIR_DENY_SUSPENDED:
      return "refused: the quota's key is suspended";
    case WEIR_DENY_EXPIRED:
      return "refused: the quota's key has expired";
    case WEIR_DENY_NO_KEY:
      return "refused: the quota has no such key";
    case WEIR_E_UNAVAILABLE:
      return "no answer about the quota in time: is there an agent, and does it reach its server?";
    case WEIR_PENDING:
      return "still waiting";
    case WEIR_E_INVALID:
      return "an argument is out of its range";
    case WEIR_E_NO_AGENT:
      return "no weir-agent answers at the socket; is it running?";
    case WEIR_E_NO_MEMORY:
      return "out of memory or file descriptors";
    case WEIR_E_VERSION:
      return "weir-agent and libweir are of different major versions";
    case WEIR_E_NOT_ALLOWED:
      return "this user may not use the domain; join its group";
    case WEIR_E_LIMIT:
      return "too many connections of this user, or too many limits";
    case WEIR_E_BUSY:
      return "weir-agent takes no more clients at the moment";
    case WEIR_E_UNTRUSTED:
      return "whoever answers at the socket is not a weir-agent";
    case WEIR_E_TOO_LARGE:
      return "more tokens than the limit's bucket can ever hold";
    case WEIR_E_UNKNOWN:
      return "no such limit";
    default:
      return "unknown status";
  }
}

const char* weir_version(void) { return WEIR_VERSION_TEXT; }

}  // extern "C"
