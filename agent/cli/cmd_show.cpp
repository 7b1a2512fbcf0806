// weir show: one limit or resource, explained.
#include <ostream>

#include "agent/cli/cluster_view.h"
#include "agent/cli/commands.h"
#include "agent/cli/explain.h"
#include "agent/cli/json.h"
#include "agent/cli/limits.h"
#include "agent/cli/quota.h"
#include "agent/cli/resources.h"
#include "agent/cli/table.h"

namespace weir::cli {

namespace {

constexpr std::size_t kTextColumns = 60;  // a comfortable line beside the titles

std::vector<std::string> wrap(const std::string& text) {
  std::vector<std::string> lines{""};
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    std::string& line = lines.back();
    if (line.empty())
      line = word;
    else if (columns(line) + 1 + columns(word) <= kTextColumns)
      line += " " + word;
    else
      lines.push_back(word);
    begin = end + 1;
  }
  return lines;
}

}  // namespace

void print_paragraphs(const Context& context, const std::vector<Paragraph>& paragraphs) {
  std::size_t width = 0;
  for (const Paragraph& paragraph : paragraphs)
    width = std::max(width, columns(paragraph.title) + 1);
  for (const Paragraph& paragraph : paragraphs) {
    std::string title = paragraph.title + ":";
    for (const std::string& line : wrap(paragraph.text)) {
      const std::string space(width + 2 - columns(title), ' ');
      context.out << context.styled(Style::bold, title) << space
                  << context.styled(paragraph.style, line) << '\n';
      title.clear();
    }
  }
}

namespace {

// The agent counts waiting calls by client and by limit, not by both.
void print_waiting_clients(const Context& context, const std::string& domain) {
  v1::AdminRequest request;
  request.mutable_clients();
  const auto answer = context.ask(request);
  if (!answer || !answer->has_clients()) return;
  Table table{{{"PID", Align::right}, {"WAITING", Align::right}, {"LABEL"}}};
  for (const auto& client : answer->clients().clients()) {
    if (client.waiting() == 0 || client.domain() != domain) continue;
    table.add({std::to_string(client.pid()), std::to_string(client.waiting()),
               context.escaped(client.label())});
  }
  if (table.empty()) return;
  context.out << "\nClients of the domain that wait, for this limit or another:\n";
  table.print(context);
}

// Who else shares a leased limit: the server knows, if it answers.
struct Others {
  std::vector<v1::HostReport> hosts;
  std::string own_host;
};

Others others_of(const Context& context, const v1::LimitStatus& limit) {
  Others others;
  if (!limit.has_lease()) return others;
  v1::AdminRequest request;
  request.mutable_status();
  const auto status = context.ask(request);
  if (!status || !status->has_status() || !status->status().upstream().answering()) return others;
  others.own_host = status->status().upstream().host();
  if (auto answer = ask_cluster(context, v1::CLUSTER_TOPIC_HOSTS, limit.name()))
    others.hosts = std::move(answer->hosts);
  return others;
}

}  // namespace

int cmd_show(const Context& context, const ShowOptions& options) {
  auto limits = fetch_limits(context, options.domain, options.name);
  if (!limits) return context.fail(limits.error());
  std::erase_if(*limits, [&](const auto& limit) { return limit.name() != options.name; });
  // The name of a resource has a space of its own: one of each may have it.
  const auto everything = fetch_resources(context, options.domain, "");
  if (!everything) return context.fail(everything.error());
  v1::ResourcesResponse named = *everything;
  auto& list = *named.mutable_resources();
  for (int i = list.size(); i-- > 0;)
    if (list[i].name() != options.name) list.DeleteSubrange(i, 1);
  const auto quotas = fetch_quotas(context, options.name, "", 0);
  if (!quotas) return context.fail(quotas.error());
  if (limits->empty() && list.empty() && quotas->list().empty()) {
    const auto all = fetch_limits(context, options.domain, "");
    return context.fail(
        (everything->resources().empty() ? "no limit '" : "no limit or resource '") + options.name +
        "'." + (all ? suggestion(context, *all, options.name) : std::string{}));
  }
  if (context.json()) {
    Json array = Json::array();
    for (const auto& limit : *limits)
      array.push_back(to_json(limit));
    Json keys = Json::array();
    for (const auto& key : quotas->list())
      keys.push_back(to_json(key));
    print_json(context, {{"limits", std::move(array)},
                         {"resources", resources_json(named)},
                         {"quota_keys", std::move(keys)}});
    return kExitOk;
  }
  bool first = true;
  for (const auto& limit : *limits) {
    if (!first) context.out << '\n';
    first = false;
    const Others others = others_of(context, limit);
    print_paragraphs(context, explain(context, limit, others.hosts, others.own_host));
    if (limit.waiting() != 0) print_waiting_clients(context, limit.domain());
  }
  for (const auto& resource : list) {
    if (!first) context.out << '\n';
    first = false;
    print_paragraphs(context, explain(context, resource, *everything));
  }
  if (!quotas->list().empty()) {
    if (!first) context.out << '\n';
    context.out << "Keys of the quota that are in use on this host:\n";
    print_quota_keys(context, *quotas);
  }
  return kExitOk;
}

}  // namespace weir::cli
