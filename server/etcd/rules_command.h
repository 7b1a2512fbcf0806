// weir-server rules: the document that servers on etcd follow. Blocking, and without a server.
#pragma once

#include <string>

namespace weir::server {

struct RulesOptions {
  std::string file;      // the server's, whose 'etcd' says where
  std::string document;  // put: from, get: to; '-': standard input and output
};

// Both print what they did, or why not, and return an exit code.
int rules_put(const RulesOptions& options);
int rules_get(const RulesOptions& options);

}  // namespace weir::server
