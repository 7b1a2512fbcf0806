// A resource in words: what protects it, how it stands, and why.
#include "agent/cli/resources.h"

namespace weir::cli {

namespace {

// "2 of 100 permits are in use. Before it is refused, ..."
Paragraph concurrency(const Context& context, const v1::ResourceStatus& r) {
  if (r.concurrency() == 0)
    return {"In flight", format_exact(r.in_flight()) +
                             " on this host, as far as programs enter; no bound is configured"};
  std::string text = format_exact(r.in_flight()) + " of " + format_exact(r.concurrency()) +
                     " permits of this host are in use.";
  for (const auto& each : r.classes())
    if (each.room() < r.concurrency())
      text += " " + context.escaped(each.name()) + " may take " + format_exact(each.room()) +
              (each.room() == 1 ? " of them." : " of them.");
  if (r.lease_ms() != 0)
    text += " A holder that does not move for " + format_ms(r.lease_ms()) + " loses its permits.";
  const bool full = r.in_flight() >= r.concurrency();
  return {"In flight", std::move(text), full ? Style::bad : Style::plain};
}

// "Of 100 permits of the cluster this host has 34, leased from the server, ..."
Paragraph share_words(const v1::PermitShare& share) {
  const std::string all = format_exact(share.max());
  if (share.fallback())
    return {"Share",
            "no word from the token server: by the fallback this host has " +
                format_exact(share.permits()) + " of the cluster's " + all + " permits",
            Style::bad};
  std::string text = format_exact(share.permits()) + " of the cluster's " + all +
                     " permits; this host wants " + format_exact(share.wanted());
  if (share.hosts() != 0) text += ", one of " + std::to_string(share.hosts()) + " that use it";
  text += share.leased() ? "; leased, and good for " + format_ms(share.left_ms()) +
                               " without another word of the server"
                         : "; not leased yet";
  return {"Share", text, share.leased() ? Style::plain : Style::warn};
}

void add_tenants(const Context& context, const v1::ResourceStatus& r,
                 const v1::ResourcesResponse& all, std::vector<Paragraph>& paragraphs) {
  std::string text;
  for (const auto& each : all.resources())
    if (each.tenant_of() == r.name() && each.domain() == r.domain() &&
        each.name().size() > r.name().size())
      text += (text.empty() ? "" : ", ") +
              context.escaped(each.name().substr(r.name().size() + 1)) + " " + in_flight_text(each);
  if (!text.empty()) paragraphs.push_back({"Tenants", text});
}

Paragraph traffic(const v1::ResourceStatus& r) {
  std::string text = format_per_s(r.asked_per_s()) + "/s asked, " +
                     format_per_s(r.succeeded_per_s()) + "/s went well, " +
                     format_per_s(r.failed_per_s()) + "/s failed, " +
                     format_per_s(r.refused_per_s()) + "/s refused.";
  if (r.response_ns() != 0) text += " Mean response " + format_duration(r.response_ns());
  if (r.has_response_p50_ns())
    text += ", half within " + format_duration(r.response_p50_ns()) + ", 99 % within " +
            format_duration(r.response_p99_ns());
  if (r.baseline_ns() != 0) text += "; without a queue " + format_duration(r.baseline_ns());
  return {"Traffic", std::move(text)};
}

Paragraph shedding(const Context& context, const v1::ResourceStatus& r) {
  std::string text = context.escaped(r.shed()) + ": ";
  if (r.blind()) text += "no signal of the host can be read, so it goes by less; ";
  if (!r.shedding() && r.shed_share() < 0.0005)
    return {"Shedding", text + "refuses nothing now", r.blind() ? Style::warn : Style::plain};
  text += "refuses " + share_text(r.shed_share()) + " of what is asked";
  if (r.shed_limit() > 0.0) text += ", from " + format_per_s(r.shed_limit()) + " in flight on";
  std::string classes;
  for (const auto& each : r.classes())
    if (each.asked_per_s() > 0.0)
      classes += (classes.empty() ? ": " : ", ") + context.escaped(each.name()) + " " +
                 share_text(each.shed_share());
  return {"Shedding", text + classes, Style::bad};
}

Paragraph breaker(const Context& context, const v1::ResourceStatus& r) {
  if (r.breaker() == "adaptive")
    return {"Breaker",
            "adaptive: " + share_text(r.throttle_share()) +
                " of the calls are refused here, as the other end would",
            breaker_style(r)};
  std::string text = breaker_text(context, r) + " since " + format_ms(r.breaker_since_ms());
  if (!r.breaker_reason().empty()) text += ": " + context.escaped(r.breaker_reason());
  if (r.breaker_due_ms() != 0)
    text += r.breaker_state() == "open" ? ". A probe may go in " + format_ms(r.breaker_due_ms())
                                        : ". It counts as lost in " + format_ms(r.breaker_due_ms());
  if (r.breaker_state().starts_with("forced"))
    text += r.breaker_forced_ms() == 0 ? ", until told otherwise"
                                       : ", for " + format_ms(r.breaker_forced_ms()) + " more";
  text += ". Opened " + plural(r.breaker_opened_total(), "time", "times") + " under this agent.";
  return {"Breaker", std::move(text), breaker_style(r)};
}

// What should not happen, where it did.
void add_oddities(const v1::ResourceStatus& r, std::vector<Paragraph>& paragraphs) {
  std::string text;
  const auto add = [&text](std::uint64_t count, const char* what) {
    if (count != 0) text += (text.empty() ? "" : ", ") + format_exact(count) + " " + what;
  };
  add(r.reaped_total(), "permits were left behind by processes that died and taken back");
  add(r.expired_total(), "permits were taken from holders that hung");
  add(r.uncounted_total(), "entries found no cell to be counted in");
  add(r.forged_total(), "shared figures could not be true and were cut");
  if (!text.empty()) paragraphs.push_back({"Besides", text, Style::warn});
}

}  // namespace

std::vector<Paragraph> explain(const Context& context, const v1::ResourceStatus& r,
                               const v1::ResourcesResponse& all) {
  std::string title = "resource " + context.escaped(r.name());
  if (!r.tenant_of().empty()) title += ", a part of " + context.escaped(r.tenant_of());
  std::vector<Paragraph> paragraphs{{"Name", title, Style::bold}};
  if (r.domain() != "default") paragraphs.push_back({"Domain", context.escaped(r.domain())});
  if (!r.description().empty()) paragraphs.push_back({"About", context.escaped(r.description())});
  paragraphs.push_back(concurrency(context, r));
  if (r.has_share()) paragraphs.push_back(share_words(r.share()));
  add_tenants(context, r, all, paragraphs);
  paragraphs.push_back(traffic(r));
  if (!r.shed().empty() && r.shed() != "off") paragraphs.push_back(shedding(context, r));
  if (!r.breaker().empty() && r.breaker() != "off") paragraphs.push_back(breaker(context, r));
  if (r.retry_budget())
    paragraphs.push_back({"Retries", format_exact(r.retries_left()) + " left in the budget",
                          r.retries_left() == 0 ? Style::warn : Style::plain});
  if (r.deadline_max_ms() != 0)
    paragraphs.push_back({"Deadline", format_ms(r.deadline_default_ms()) +
                                          " where a caller says none, at most " +
                                          format_ms(r.deadline_max_ms())});
  add_oddities(r, paragraphs);
  paragraphs.push_back({"Defined", "line " + std::to_string(r.line()) + " of the rules file"});
  return paragraphs;
}

}  // namespace weir::cli
