// weir version: the three parts that should be of one version.
#include <weir/weir.h>

#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/version.h"

namespace weir::cli {

int cmd_version(const Context& context) {
  v1::AdminRequest request;
  request.mutable_status();
  const auto answer = context.ask(request);
  const bool answered = answer && answer->has_status();
  if (context.json()) {
    Json json{{"weir", kVersion}, {"libweir", weir_version()}, {"agent", nullptr}};
    if (answered) json["agent"] = answer->status().version();
    print_json(context, json);
    return kExitOk;
  }
  context.out << "weir        " << kVersion << "\nlibweir     " << weir_version()
              << "\nweir-agent  ";
  if (answered)
    context.out << context.escaped(answer->status().version()) << '\n';
  else
    context.out << "did not answer at " << context.escaped(context.paths.admin_socket) << '\n';
  return kExitOk;
}

}  // namespace weir::cli
