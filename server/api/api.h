// The HTTP API of a token server: quotas, the audit log, limits, hosts and statistics, as JSON.
// docs/http-api.md is for its users, openapi.yaml its exact form.
//
// Everything under /v1 needs a bearer token of the server's file; what a token may do is its role.
// One thread, that of the server.
#pragma once

#include <functional>
#include <memory>

#include "daemon/http/message.h"
#include "server/store/store.h"
#include "server/token_server.h"

namespace weir::server {

class Api {
 public:
  // Both outlive the API.
  explicit Api(TokenServer& server);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // Null: the server has no store (yet), and whatever needs one is answered 503.
  void use_store(QuotaStore* store, AuditLog* audit);

  // Whether this is for the API.
  static bool serves(const HttpRequest& request) noexcept;
  void handle(const HttpRequest& request, HttpRespond respond);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::server
