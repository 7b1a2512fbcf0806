#include "agent/cli/limits.h"

#include <algorithm>
#include <utility>

#include "rules/duration.h"
#include "rules/text.h"

namespace weir::cli {

namespace {

net::Result<Limits> limits_of(net::Result<v1::AdminResponse> answer, const std::string& path) {
  if (!answer) return answer.error();
  if (!answer->has_limits()) return unexpected_answer(path);
  Limits limits;
  for (auto& limit : *answer->mutable_limits()->mutable_limits())
    limits.push_back(std::move(limit));
  return limits;
}

v1::AdminRequest request_for(const std::string& domain, const std::string& name) {
  v1::AdminRequest request;
  request.mutable_limits()->set_domain(domain);
  request.mutable_limits()->set_name(name);
  return request;
}

double figure(const v1::LimitStatus& limit, SortKey key) {
  switch (key) {
    case SortKey::admitted:
      return limit.spent_per_s();
    case SortKey::refused:
      return limit.refused_per_s();
    case SortKey::level:
      return -fill_of(limit);  // the emptiest first
    case SortKey::waiting:
      return static_cast<double>(limit.waiting());
    case SortKey::name:
      break;
  }
  return 0;
}

}  // namespace

net::Result<Limits> fetch_limits(net::AdminClient& client, const std::string& domain,
                                 const std::string& name) {
  return limits_of(client.call(request_for(domain, name)), client.path());
}

net::Result<Limits> fetch_limits(const Context& context, const std::string& domain,
                                 const std::string& name) {
  return limits_of(context.ask(request_for(domain, name)), context.paths.admin_socket);
}

void sort_limits(Limits& limits, SortKey key, bool reverse) {
  std::sort(limits.begin(), limits.end(), [&](const auto& a, const auto& b) {
    const double left = figure(a, key);
    const double right = figure(b, key);
    if (left != right) return reverse ? left < right : left > right;
    const int order =
        a.name() != b.name() ? a.name().compare(b.name()) : a.domain().compare(b.domain());
    return key == SortKey::name && reverse ? order > 0 : order < 0;
  });
}

std::string_view to_text(SortKey key) noexcept {
  switch (key) {
    case SortKey::name:
      return "name";
    case SortKey::admitted:
      return "admitted";
    case SortKey::refused:
      return "refused";
    case SortKey::level:
      return "level";
    case SortKey::waiting:
      return "waiting";
  }
  return "";
}

std::string rate_of(const v1::LimitStatus& limit) {
  if (!limit.rate_text().empty()) return limit.rate_text();
  return weir::format_rate({limit.amount(), limit.period_ns()});
}

double fill_of(const v1::LimitStatus& limit) noexcept {
  const std::uint64_t capacity = limit.burst() != 0 ? limit.burst() : limit.amount();
  if (capacity == 0) return 0;
  return std::min(1.0, static_cast<double>(limit.level()) / static_cast<double>(capacity));
}

bool in_more_than_one_domain(const Limits& limits) {
  return std::any_of(limits.begin(), limits.end(),
                     [&](const auto& limit) { return limit.domain() != limits.front().domain(); });
}

std::string suggestion(const Context& context, const Limits& limits, std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& limit : limits)
    names.emplace_back(limit.name());
  const std::string_view near = weir::did_you_mean(name, names);
  if (near.empty()) return " `weir list` names all limits.";
  return " Did you mean '" + context.escaped(near) + "'?";
}

}  // namespace weir::cli
