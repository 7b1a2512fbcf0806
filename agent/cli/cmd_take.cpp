// weir take: a shell command under a limit.
#include <unistd.h>
#include <weir/weir.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <ostream>

#include "agent/cli/client_ptr.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"

namespace weir::cli {

namespace {

constexpr std::uint32_t kConnectTimeoutMs = 1000;

std::string open_error(const Context& context, weir_status status) {
  const std::string& path = context.paths.attach_socket;
  switch (status) {
    case WEIR_E_NO_AGENT:
      return "no agent answers at " + path +
             ". Is weir-agent running? --allow-without-agent runs the command anyway";
    case WEIR_E_NOT_ALLOWED:
      return "the agent at " + path + " does not serve this user. Join the domain's group (" +
             "usually `weir`) and log in again";
    case WEIR_E_VERSION:
      return "the agent at " + path +
             " and this program's libweir are of different major versions. Install the same";
    case WEIR_E_INVALID:
      return "the socket path " + path + " cannot be used: it is empty or longer than 107 bytes";
    default:
      return path + ": " + weir_strerror(status);
  }
}

struct Answer {
  bool admitted = false;
  bool shared = false;
  bool switched_off = false;
  std::uint64_t wait_ns = 0;  // UINT64_MAX: not known
};

void print_answer(const Context& context, const TakeOptions& options, const Answer& answer) {
  const std::uint64_t wait_ns = answer.wait_ns;
  if (context.json()) {
    Json json{{"limit", options.name},
              {"tokens", options.tokens},
              {"admitted", answer.admitted},
              {"shared", answer.shared},
              {"wait_ns", nullptr}};
    if (wait_ns != UINT64_MAX) json["wait_ns"] = wait_ns;
    print_json(context, json);
  } else if (!answer.admitted) {
    context.err << "weir: refused by '" << context.escaped(options.name) << "'";
    if (answer.switched_off) context.err << ", which lets nothing pass";
    if (wait_ns != UINT64_MAX && wait_ns != 0)
      context.err << "; " << options.tokens << (options.tokens == 1 ? " token is" : " tokens are")
                  << " likely in " << format_duration(wait_ns) << " (--wait)";
    context.err << '\n';
  }
}

bool is_shared(weir_limit* limit) {
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);
  return weir_limit_read(limit, &info) == WEIR_OK && info.shared != 0;
}

// Whether the agent, being there, has no rule of this name. Asked of the client: a limit that no
// agent knows is one of this process, which never sees a heartbeat.
bool is_unknown(weir_client* client, weir_limit* limit) {
  return weir_client_state(client) == WEIR_OK && !is_shared(limit);
}

// A limit that is switched off refuses like an empty one; other sizes are a mistake of the caller.
bool is_switched_off(weir_limit* limit) {
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);
  return weir_limit_read(limit, &info) == WEIR_OK && info.amount == 0;
}

weir_status acquire(weir_limit* limit, const TakeOptions& options, std::uint64_t& wait_ns) {
  if (options.wait_ns != 0) {
    return weir_acquire_class(limit, options.tokens, options.priority_class, options.wait_ns,
                              &wait_ns);
  }
  const weir_status status = weir_try_acquire_class(limit, options.tokens, options.priority_class);
  if (status != WEIR_DENY) return status;
  if (weir_retry_after(limit, options.tokens, &wait_ns) == WEIR_E_TOO_LARGE)
    return WEIR_E_TOO_LARGE;
  // The estimate knows nothing of what is kept from the lower classes.
  if (options.priority_class > WEIR_CRITICAL) wait_ns = UINT64_MAX;
  return status;
}

}  // namespace

int cmd_take(const Context& context, const TakeOptions& options, const Runner& run) {
  weir_options open_options{};
  open_options.struct_bytes = sizeof(open_options);
  open_options.connect_timeout_ms = kConnectTimeoutMs;
  open_options.socket_path = context.paths.attach_socket.c_str();
  open_options.require_agent = options.allow_without_agent ? 0 : 1;
  open_options.label = "weir take";
  weir_client* opened = nullptr;
  if (const weir_status status = weir_open(&open_options, &opened); status != WEIR_OK)
    return context.fail(open_error(context, status),
                        status == WEIR_E_NO_AGENT ? kExitNoAgent : kExitFailure);
  ClientPtr client{opened};
  weir_limit* limit = nullptr;
  if (const weir_status status =
          weir_limit_get(client.get(), options.name.c_str(), nullptr, &limit);
      status != WEIR_OK)
    return context.fail("'" + options.name + "' is no name of a limit: " + weir_strerror(status));
  if (is_unknown(client.get(), limit))
    return context.fail("no limit '" + options.name + "' in the domain at " +
                        context.paths.attach_socket +
                        "; `weir list` names all, --socket takes another domain");
  Answer answer;
  weir_status status = acquire(limit, options, answer.wait_ns);
  if (status == WEIR_E_TOO_LARGE && is_switched_off(limit)) {
    status = WEIR_DENY;
    answer.switched_off = true;
    answer.wait_ns = UINT64_MAX;
  }
  if (status == WEIR_E_TOO_LARGE) {
    return context.fail("'" + options.name + "' can never hold " +
                        plural(options.tokens, "token", "tokens") +
                        " at once; take fewer, or raise the limit's burst");
  }
  if (status < 0) return context.fail("'" + options.name + "': " + weir_strerror(status));
  answer.admitted = status == WEIR_ALLOW;
  answer.shared = is_shared(limit);
  if (options.command.empty() || !answer.admitted) print_answer(context, options, answer);
  if (!answer.admitted) return kExitRefused;
  client.reset();  // The command inherits no trace of us.
  return options.command.empty() ? kExitOk : run(context, options.command);
}

int run_in_place(const Context& context, const std::vector<std::string>& command) {
  context.out.flush();
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));  // execvp does not write to them
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  const int os_error = errno;
  return context.fail("cannot run '" + command[0] + "': " + std::strerror(os_error),
                      os_error == ENOENT ? kExitNotFound : kExitCannotRun);
}

}  // namespace weir::cli
