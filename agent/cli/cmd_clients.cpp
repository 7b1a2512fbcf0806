// weir clients: who is attached.
#include <algorithm>
#include <ostream>
#include <tuple>
#include <vector>

#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/table.h"

namespace weir::cli {

namespace {

// The agent sends them in no order.
std::vector<v1::ClientStatus> sorted_clients(const v1::ClientsResponse& answer) {
  std::vector<v1::ClientStatus> clients{answer.clients().begin(), answer.clients().end()};
  std::sort(clients.begin(), clients.end(), [](const auto& a, const auto& b) {
    return std::tuple{a.domain(), a.pid(), b.attached_ms()} <
           std::tuple{b.domain(), b.pid(), a.attached_ms()};
  });
  return clients;
}

}  // namespace

int cmd_clients(const Context& context) {
  v1::AdminRequest request;
  request.mutable_clients();
  const auto answer = context.ask(request);
  if (!answer) return context.fail(answer.error());
  if (!answer->has_clients()) return context.fail(unexpected_answer(context.paths.admin_socket));
  const auto clients = sorted_clients(answer->clients());
  if (context.json()) {
    Json array = Json::array();
    for (const auto& client : clients)
      array.push_back(to_json(client));
    print_json(context, {{"clients", std::move(array)}});
    return kExitOk;
  }
  constexpr std::size_t kCommandColumns = 60;
  Table table{{{"PID", Align::right},
               {"UID", Align::right},
               {"GID", Align::right},
               {"DOMAIN"},
               {"LABEL"},
               {"ATTACHED", Align::right},
               {"WAITING", Align::right},
               {"DOORBELLS", Align::right},
               {"LAYOUT"},
               {"COMMAND"}}};
  for (const auto& client : clients) {
    table.add({std::to_string(client.pid()), std::to_string(client.uid()),
               std::to_string(client.gid()), context.escaped(client.domain()),
               context.escaped(client.label()), format_ms(client.attached_ms()),
               std::to_string(client.waiting()), format_count(client.doorbells_total()),
               std::to_string(client.major()) + "." + std::to_string(client.minor()),
               shorten(context.escaped(client.command()), kCommandColumns, context.charset)});
  }
  if (table.empty())
    context.err << "weir: no process is attached\n";
  else
    table.print(context);
  return kExitOk;
}

}  // namespace weir::cli
