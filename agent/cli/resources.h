// Fetching, printing and explaining resources and levels of degradation: shared by list, show, top
// and the toolkit's own commands.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/explain.h"
#include "agent/cli/json.h"
#include "agent/cli/table.h"

namespace weir::cli {

// By domain and name, tenants behind what they are parts of. Empty strings mean all. An agent that
// does not know the question has no resources.
net::Result<v1::ResourcesResponse> fetch_resources(net::AdminClient& client,
                                                   const std::string& domain,
                                                   const std::string& name);
net::Result<v1::ResourcesResponse> fetch_resources(const Context& context,
                                                   const std::string& domain,
                                                   const std::string& name);

Json to_json(const v1::ResourceStatus& resource);
Json to_json(const v1::DegradeStatus& degrade);
Json to_json(const v1::LoadStatus& load);
Json resources_json(const v1::ResourcesResponse& resources);
Json degrades_json(const v1::ResourcesResponse& resources);

// Plain words of a few columns, escaped already.
std::string in_flight_text(const v1::ResourceStatus& resource);  // "12/200"
std::string shed_text(const v1::ResourceStatus& resource);       // "no", "12 %", "blind", "-"
std::string breaker_text(const Context& context, const v1::ResourceStatus& resource);
Style breaker_style(const v1::ResourceStatus& resource);
std::string response_text(const v1::ResourceStatus& resource);
std::string share_text(double share);
// With its domain where that is another than the default one.
std::string shown_name(const Context& context, const std::string& domain, const std::string& name);

void print_resources(const Context& context, const v1::ResourcesResponse& resources);
std::vector<Paragraph> explain(const Context& context, const v1::ResourceStatus& resource,
                               const v1::ResourcesResponse& all);
// Titles in one column, texts wrapped beside them. In cmd_show.cpp.
void print_paragraphs(const Context& context, const std::vector<Paragraph>& paragraphs);

}  // namespace weir::cli
