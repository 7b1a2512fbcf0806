#include "server/etcd/rules_command.h"

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <vector>

#include "rules/file.h"
#include "rules/parse.h"
#include "server/app.h"
#include "server/command.h"
#include "server/etcd/cluster.h"

namespace weir::server {
namespace {

constexpr etcd::Client::Ms kDeadline{2'000};
// One for each member: a call that finds one of them dead goes to the next.
constexpr std::size_t kTriesMax = 5;
// etcd takes 1.5 MiB in one request.
constexpr std::size_t kDocumentBytesMax = std::size_t{1} << 20;

// What the server's file says of etcd; none, and said, when that is nothing.
std::unique_ptr<ServerRules> read_server_file(const std::string& path) {
  const ServerParseResult parsed = load_server_file(path);
  for (const Problem& problem : parsed.problems)
    std::fprintf(stderr, "%s\n", to_string(problem).c_str());
  if (!parsed.ok()) return nullptr;
  if (!parsed.rules->etcd.enabled()) {
    command_failed("rules", path + " has no 'etcd'");
    return nullptr;
  }
  return std::make_unique<ServerRules>(*parsed.rules);
}

// Again when there is no answer: of a read and of a put of the same bytes that is all the same.
std::string ask(const EtcdRule& rule, const etcd::rpc::TxnRequest& request,
                etcd::rpc::TxnResponse& answer) {
  boost::asio::io_context io;
  etcd::ClientOptions options;
  std::unique_ptr<etcd::Client> client;
  if (std::string error = etcd::client_options(rule, options); !error.empty()) return error;
  if (std::string error = etcd::make_client(io, options, client); !error.empty()) return error;
  etcd::Status status;
  for (std::size_t i = 0; i < kTriesMax; ++i) {
    bool answered = false;
    client->txn(request, kDeadline,
                [&](const etcd::Status& said, const etcd::rpc::TxnResponse& response) {
                  status = said;
                  answer = response;
                  answered = true;
                });
    while (!answered) {
      io.restart();
      io.run_one_for(kDeadline);
    }
    if (status.code != etcd::Status::Code::unknown) break;
  }
  return status.ok() ? std::string{} : "etcd: " + status.text;
}

}  // namespace

int rules_put(const RulesOptions& options) {
  const auto server = read_server_file(options.file);
  if (!server) return kExitConfig;
  std::string text;
  if (options.document == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
    if (text.size() > kDocumentBytesMax)
      return command_failed("rules", "more than 1 MiB on standard input");
  } else {
    FileText file = read_file(options.document, kDocumentBytesMax);
    if (!file.error.empty()) return command_failed("rules", options.document + " " + file.error);
    text = std::move(file.text);
  }
  std::vector<NamespaceRule> namespaces;
  const std::string called = options.document == "-" ? "standard input" : options.document;
  if (const std::string why = etcd::namespaces_of(text, namespaces, called); !why.empty())
    return command_failed("rules", why, kExitConfig);
  etcd::rpc::TxnRequest request;
  const std::string key = server->etcd.prefix + "/rules";
  etcd::add_put(request, key, text);
  etcd::rpc::TxnResponse answer;
  if (const std::string why = ask(server->etcd, request, answer); !why.empty())
    return command_failed("rules", why);
  std::printf("%s: %zu namespace(s), revision %lld\n", key.c_str(), namespaces.size(),
              static_cast<long long>(answer.header().revision()));
  if (!server->namespaces.empty())
    std::printf("note: %s has namespaces of its own, and its server follows those\n",
                options.file.c_str());
  return kExitOk;
}

int rules_get(const RulesOptions& options) {
  const auto server = read_server_file(options.file);
  if (!server) return kExitConfig;
  etcd::rpc::TxnRequest request;
  const std::string key = server->etcd.prefix + "/rules";
  etcd::add_get(request, key);
  etcd::rpc::TxnResponse answer;
  if (const std::string why = ask(server->etcd, request, answer); !why.empty())
    return command_failed("rules", why);
  const auto& found = answer.responses(0).response_range();
  if (found.kvs_size() == 0) return command_failed("rules", "there is nothing at " + key + " yet");
  const std::string& text = found.kvs(0).value();
  if (options.document == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0 ? kExitOk
                                    : command_failed("rules", "standard output is not writable");
  }
  std::ofstream file(options.document, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) return command_failed("rules", options.document + " cannot be written");
  return kExitOk;
}

}  // namespace weir::server
