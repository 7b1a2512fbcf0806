// What the agent answers about the availability toolkit and the quotas.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "agent/app.h"
#include "agent/quota/report.h"
#include "agent/toolkit/metrics.h"
#include "agent/toolkit/report.h"
#include "agent/upstream/permit_report.h"
#include "daemon/log/printable.h"
#include "shm/clock.h"

namespace weir::agent {

using namespace weir::shm;

std::string App::toolkit_metrics() const {
  std::vector<std::pair<std::string, const Toolkit*>> toolkits;
  for (const ServedDomain& served : domains_)
    if (served.domain->toolkit() != nullptr)
      toolkits.emplace_back(served.domain->name(), served.domain->toolkit());
  return render_toolkit_metrics(toolkits) + (cluster_ ? render_share_metrics(*cluster_) : "");
}

std::string App::quota_metrics() const {
  return cluster_ && cluster_->quotas() != nullptr ? render_quota_metrics(*cluster_->quotas())
                                                   : std::string();
}

void App::fill_quotas(const v1::QuotasRequest& request, v1::QuotasResponse& quotas) const {
  if (!cluster_ || cluster_->quotas() == nullptr) return;
  quotas.set_available(true);
  agent::fill_quotas(*cluster_->quotas(), request, quotas);
}

void App::fill_resources(const v1::ResourcesRequest& request,
                         v1::ResourcesResponse& resources) const {
  fill_cpu_status(*resources.mutable_cpu());
  for (const ServedDomain& served : domains_)
    if (request.domain().empty() || request.domain() == served.domain->name())
      agent::fill_resources(*served.domain, request.name(), read_mono_ns(), resources);
  if (cluster_) fill_shares(*cluster_, resources);
  fill_host_load(resources);
}

namespace {

// Who has the name, where the request does not say whose it means.
template <class Has>
Toolkit* toolkit_for(const std::vector<ServedDomain>& domains, const std::string& domain,
                     std::string& problem, Has has) {
  Toolkit* found = nullptr;
  Toolkit* any = nullptr;
  for (const ServedDomain& served : domains) {
    Toolkit* toolkit = served.domain->toolkit();
    if (toolkit == nullptr || (!domain.empty() && domain != served.domain->name())) continue;
    any = any == nullptr ? toolkit : any;
    if (!has(*toolkit)) continue;
    if (found != nullptr) {
      problem = "more than one domain has that name; say which by --domain";
      return nullptr;
    }
    found = toolkit;
  }
  if (any == nullptr)
    problem = domain.empty() ? "the counters were kept from an agent without the toolkit"
                             : "no domain '" + domain + "'";
  return found == nullptr ? any : found;
}

void log_and_answer(const Forced& forced, v1::AdminResponse& response) {
  if (!forced.problem.empty()) return response.set_error(forced.problem);
  spdlog::warn("operator: {}", printable(forced.text));
  response.mutable_force()->set_text(forced.text);
}

}  // namespace

// Who steers the host's traffic by hand leaves a line in the log.
void App::force(const v1::AdminRequest& request, v1::AdminResponse& response) {
  std::string problem;
  const auto say = [&problem, &response](Toolkit* toolkit, auto&& change) {
    if (toolkit == nullptr || !problem.empty()) return response.set_error(problem);
    log_and_answer(change(*toolkit), response);
  };
  if (request.has_force_breaker()) {
    const v1::ForceBreakerRequest& wanted = request.force_breaker();
    const auto has = [&wanted](const Toolkit& toolkit) {
      return std::any_of(toolkit.resources().begin(), toolkit.resources().end(),
                         [&](const auto& each) { return each->name() == wanted.name(); });
    };
    return say(toolkit_for(domains_, wanted.domain(), problem, has), [&wanted](Toolkit& toolkit) {
      return force_breaker(toolkit, wanted, read_mono_ns());
    });
  }
  const v1::ForceLevelRequest& wanted = request.force_level();
  const auto has = [&wanted](const Toolkit& toolkit) {
    return std::any_of(toolkit.degrades().begin(), toolkit.degrades().end(),
                       [&](const auto& each) { return each.config.name == wanted.name(); });
  };
  say(toolkit_for(domains_, wanted.domain(), problem, has),
      [&wanted](Toolkit& toolkit) { return force_level(toolkit, wanted, read_mono_ns()); });
}

}  // namespace weir::agent
