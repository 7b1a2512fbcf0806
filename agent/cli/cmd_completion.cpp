// weir completion: the scripts that the packages install, for who installs none.
#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/completion_scripts.h"

namespace weir::cli {

int cmd_completion(const Context& context, const std::string& shell) {
  if (shell == "bash")
    context.out << kBashCompletion;
  else if (shell == "zsh")
    context.out << kZshCompletion;
  else
    return context.fail("there is no completion for '" + shell + "'; bash and zsh have one",
                        kExitUsage);
  return kExitOk;
}

}  // namespace weir::cli
