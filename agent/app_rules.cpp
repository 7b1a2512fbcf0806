// How the agent takes new rules, from its file, from an operator and from a token server, and
// answers what is asked at its admin socket.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/app.h"
#include "daemon/log/printable.h"
#include "shm/clock.h"

namespace weir::agent {

using namespace weir::shm;
namespace fs = std::filesystem;

void App::reload(const char* why) {
  ParseResult parsed = load_rules_file(options_.rules_file);
  std::vector<std::string> problems;
  for (const Problem& problem : parsed.problems)
    problems.push_back(to_string(problem));
  if (parsed.ok() && put_in_force(*parsed.rules, problems)) return;
  rules_error_ = problems.empty() ? "unknown" : problems.front();
  for (const std::string& problem : problems)
    spdlog::error("reload ({}): {}", why, problem);
  spdlog::error("reload ({}): refused; the rules in force stay as they are", why);
}

ServedDomain* App::find_domain(const std::string& name) {
  for (ServedDomain& served : domains_)
    if (served.domain->name() == name) return &served;
  return nullptr;
}

// All of it or nothing: what could fail is tried before anything changes.
bool App::put_in_force(const RuleSet& rules, std::vector<std::string>& problems) {
  if (std::string problem = Cluster::problem_of(rules.cluster); !problem.empty())
    problems.push_back(std::move(problem));
  for (const DomainRule& rule : rules.domains)
    if (const ServedDomain* served = find_domain(rule.name);
        served != nullptr && !served->domain->has_room_for(with_cluster(rule, rules.cluster)))
      problems.push_back("domain " + rule.name +
                         ": too many new limits at once; the slots of "
                         "removed ones rest for a minute");
  for (const DomainRule& rule : rules.domains)
    if (const ServedDomain* served = find_domain(rule.name); served != nullptr)
      if (std::string problem = served->domain->places_problem(rule); !problem.empty())
        problems.push_back("domain " + rule.name + ": " + problem);
  if (!problems.empty()) return false;
  if (std::string problem = change_cluster(rules.cluster); !problem.empty()) {
    problems.push_back(std::move(problem));
    return false;
  }
  // New domains first: making one can fail, and then nothing has changed yet.
  const std::size_t domains_before = domains_.size();
  std::vector<InheritedFd> none;
  for (const DomainRule& rule : rules.domains) {
    if (find_domain(rule.name) != nullptr) continue;
    if (const std::string error = serve_domain(rule, none); !error.empty()) {
      problems.push_back("domain " + rule.name + ": " + error);
      domains_.resize(domains_before);
      return false;
    }
  }
  const std::vector<RuleChange> changes = diff_rules(rules_, rules);
  for (const RuleChange& change : changes)
    spdlog::info("rules: {}", printable(to_string(change)));
  for (const DomainRule& rule : rules.domains) {
    ServedDomain& served = *find_domain(rule.name);
    if (served.domain->rule().socket != rule.socket)
      spdlog::warn("domain {}: its new socket {} is opened when the agent restarts",
                   printable(rule.name), printable(rule.socket));
    publish(served, rule);
    served.server->set_access(rule);
  }
  std::erase_if(domains_, [&](ServedDomain& served) {
    const bool stays =
        std::any_of(rules.domains.begin(), rules.domains.end(),
                    [&](const auto& rule) { return rule.name == served.domain->name(); });
    if (stays) return false;
    notifier_.remove_fd("counters-" + served.domain->name());
    notifier_.remove_fd("ledger-" + served.domain->name());
    served.server->close();
    return true;
  });
  rules_ = rules;
  rules_loaded_ns_ = read_mono_ns();
  ++rules_generation_;
  rules_error_.clear();
  return true;
}

// What the domain would have to hold, for asking whether there is room.
DomainRule App::with_cluster(const DomainRule& rule, const ClusterRule& cluster) {
  if (rule.name != cluster.domain || !cluster.embedded())
    return cluster_ ? cluster_->merged(rule) : rule;
  DomainRule all = rule;
  for (const LimitRule& limit : leaves_of(cluster.limits))
    all.limits.push_back(limit);
  return all;
}

bool App::publish(ServedDomain& served, const DomainRule& rule) {
  const bool leased = cluster_ && rule.name == cluster_->rule().domain;
  if (leased)
    cluster_->prepare(*served.domain, !running_);
  else
    served.domain->set_lease_source(nullptr);
  if (!served.domain->publish(leased ? cluster_->merged(rule) : rule)) return false;
  if (leased) cluster_->bind(*served.domain);
  return true;
}

std::string App::start_cluster(const ClusterRule& rule) {
  if (!wants_cluster(rule)) return {};
  ClusterOptions options{options_.runtime_dir, state_dir(), WEIR_VERSION_TEXT, boot_id(),
                         agent_epoch_};
  cluster_ = std::make_unique<Cluster>(io_, std::move(options), [this] { take_cluster_limits(); });
  std::string error = cluster_->start(rule);
  if (!error.empty()) cluster_.reset();
  return error;
}

// Another server, another namespace: what was leased is given back, and the talk begins anew. If
// that cannot be, the old one goes on.
std::string App::change_cluster(const ClusterRule& rule) {
  if (!cluster_) return start_cluster(rule);
  if (wants_cluster(rule) && cluster_->fits(rule)) {
    cluster_->apply(rule);
    return {};
  }
  const ClusterRule before = cluster_->rule();
  cluster_->stop(true);
  cluster_.reset();
  std::string error = start_cluster(rule);
  if (error.empty()) return {};
  if (const std::string again = start_cluster(before); !again.empty())
    spdlog::error("the cluster as it was cannot be started again: {}", again);
  for (const DomainRule& own : rules_.domains)
    publish(*find_domain(own.name), own);
  return error;
}

// The server sent other limits than before.
void App::take_cluster_limits() {
  ServedDomain* served = find_domain(cluster_->rule().domain);
  if (served == nullptr) return;
  for (const DomainRule& rule : rules_.domains) {
    if (rule.name != cluster_->rule().domain) continue;
    if (!served->domain->has_room_for(cluster_->merged(rule)) || !publish(*served, rule))
      spdlog::error(
          "domain {}: no room for the limits that the token server sent; those in force "
          "stay",
          printable(rule.name));
    else
      ++rules_generation_;
  }
}

void App::answer(const v1::AdminRequest& request, bool may_change,
                 const AdminServer::Reply& reply) {
  v1::AdminResponse response;
  switch (request.request_case()) {
    case v1::AdminRequest::kStatus:
      fill_status(*response.mutable_status());
      break;
    case v1::AdminRequest::kLimits:
      fill_limits(request.limits(), *response.mutable_limits());
      break;
    case v1::AdminRequest::kClients:
      fill_clients(*response.mutable_clients());
      break;
    case v1::AdminRequest::kApply:
      if (may_change || request.apply().dry_run())
        apply(request.apply(), *response.mutable_apply());
      else
        response.set_error("only root and the agent's own user may change rules; try sudo");
      break;
    case v1::AdminRequest::kResources:
      fill_resources(request.resources(), *response.mutable_resources());
      break;
    case v1::AdminRequest::kQuotas:
      fill_quotas(request.quotas(), *response.mutable_quotas());
      break;
    case v1::AdminRequest::kForceBreaker:
    case v1::AdminRequest::kForceLevel:
      if (may_change)
        force(request, response);
      else
        response.set_error(
            "only root and the agent's own user may force breakers and levels; try sudo");
      break;
    case v1::AdminRequest::kCluster:
      return ask_cluster(request.cluster(), reply);
    case v1::AdminRequest::REQUEST_NOT_SET:
      response.set_error("this agent does not know the request; is `weir` newer than the agent?");
      break;
  }
  reply(std::move(response));
}

void App::ask_cluster(const v1::ClusterQuery& query, const AdminServer::Reply& reply) {
  if (!cluster_) {
    v1::AdminResponse response;
    response.set_error(
        "this agent has no token server: no limit of its rules has scope: cluster, and 'server' "
        "names none");
    return reply(std::move(response));
  }
  cluster_->link().query(query, [reply](const std::string& error, const v1::ClusterReport& report) {
    v1::AdminResponse response;
    if (error.empty())
      *response.mutable_cluster() = report;
    else
      response.set_error(error);
    reply(std::move(response));
  });
}

void App::apply(const v1::ApplyRequest& request, v1::ApplyResponse& response) {
  const bool own_file = request.text().empty();
  ParseResult parsed =
      own_file ? load_rules_file(options_.rules_file)
               : parse_rules(request.text(),
                             request.file_name().empty() ? "<stdin>" : request.file_name());
  for (const Problem& problem : parsed.problems)
    response.add_problems(to_string(problem));
  if (!parsed.ok()) {
    // The file that a restart would read is broken: that is the agent's state, not only an answer.
    if (own_file && !request.dry_run()) rules_error_ = response.problems(0);
    return;
  }
  for (const Problem& problem : parsed.rules->warnings)
    response.add_warnings(to_string(problem));
  for (const RuleChange& change : diff_rules(rules_, *parsed.rules))
    response.add_changes(to_string(change));
  if (request.dry_run()) return;
  if (request.write_file() && !own_file) {
    const std::string draft = options_.rules_file + ".new";
    std::ofstream out(draft, std::ios::trunc | std::ios::binary);
    out << request.text();
    out.close();
    std::error_code failed;
    if (out) fs::rename(draft, options_.rules_file, failed);
    if (!out || failed) {
      response.add_problems("cannot write " + options_.rules_file + ": " +
                            (failed ? failed.message() : std::strerror(errno)));
      return;
    }
  }
  std::vector<std::string> problems;
  response.set_applied(put_in_force(*parsed.rules, problems));
  for (const std::string& problem : problems)
    response.add_problems(problem);
}

}  // namespace weir::agent
