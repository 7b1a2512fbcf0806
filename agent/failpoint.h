// Named places at which a test build can be made to die or stop, as in
//     WEIR_FAILPOINT=publish.before_flip:kill weir-agent ...
// Actions: kill (SIGKILL to itself), stop (SIGSTOP), abort. Nothing of it is in a release build.
#pragma once

#ifdef WEIR_FAILPOINTS
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace weir::agent {
inline void failpoint(const char* name) noexcept {
  static const char* const wanted = ::secure_getenv("WEIR_FAILPOINT");
  if (wanted == nullptr) return;
  const std::size_t length = std::strlen(name);
  if (std::strncmp(wanted, name, length) != 0 || wanted[length] != ':') return;
  const char* action = wanted + length + 1;
  if (std::strcmp(action, "kill") == 0) ::kill(::getpid(), SIGKILL);
  if (std::strcmp(action, "stop") == 0) ::kill(::getpid(), SIGSTOP);
  if (std::strcmp(action, "abort") == 0) std::abort();
}
}  // namespace weir::agent
#else
namespace weir::agent {
inline void failpoint(const char*) noexcept {}
}  // namespace weir::agent
#endif
