// What a token server says of a namespace, for people: tables, sentences and JSON.
#pragma once

#include <string>
#include <vector>

#include "agent/cli/context.h"
#include "agent/cli/json.h"
#include "agent/cli/table.h"

namespace weir::cli {

// A server's answer, all its pages together.
struct ClusterAnswer {
  v1::ServerReport server;
  std::vector<v1::LimitReport> limits;
  std::vector<v1::HostReport> hosts;
  std::vector<v1::ConcurrencyReport> concurrency;
  std::vector<v1::PermitHostReport> permit_hosts;
};

// Asks through the agent, which asks the server. `limit` is for CLUSTER_TOPIC_HOSTS.
net::Result<ClusterAnswer> ask_cluster(const Context& context, v1::ClusterTopic topic,
                                       const std::string& limit = {});
net::Result<ClusterAnswer> ask_cluster(net::AdminClient& client, v1::ClusterTopic topic,
                                       const std::string& limit = {});

void add_server(const Context& context, const v1::ServerReport& server, Facts& facts);
Table limits_table(const Context& context, const std::vector<v1::LimitReport>& limits);
Table concurrency_table(const Context& context,
                        const std::vector<v1::ConcurrencyReport>& concurrency);
Table permit_hosts_table(const Context& context, const std::vector<v1::PermitHostReport>& hosts);
Table hosts_table(const Context& context, const std::vector<v1::HostReport>& hosts, bool of_limit);

std::string per_s_text(std::uint64_t micro_per_s);  // "200/s"
std::string tokens_text(std::uint64_t micro);       // "150"

Json to_json(const v1::ServerReport& server);
Json to_json(const v1::LimitReport& limit);
Json to_json(const v1::HostReport& host);
Json to_json(const v1::ConcurrencyReport& concurrency);
Json to_json(const v1::PermitHostReport& host);

}  // namespace weir::cli
