#include "agent/cli/explain.h"

#include <algorithm>

#include "agent/cli/limits.h"
#include "rules/duration.h"
#include "rules/text.h"

namespace weir::cli {

namespace {

std::string tokens(std::uint64_t count) {
  return format_exact(count) + (count == 1 ? " token" : " tokens");
}

std::string of_period(const Context& context, const v1::LimitStatus& limit) {
  if (limit.calendar().empty()) return weir::format_duration_ns(limit.period_ns());
  std::string text = "calendar " + context.escaped(limit.calendar());
  if (!limit.timezone().empty()) text += " of " + context.escaped(limit.timezone());
  return text;
}

std::string token_bucket(const Context& context, const v1::LimitStatus& limit) {
  const std::string rate = context.escaped(rate_of(limit));
  return "Token bucket: tokens flow in at " + rate + ", and the bucket holds at most " +
         format_exact(limit.burst()) + ". In any stretch of time T, all processes" +
         (limit.has_lease() ? " of all hosts" : "") + " together are admitted at most " +
         format_exact(limit.burst()) + " + " + rate + " x T.";
}

std::string leaky_bucket(const Context& context, const v1::LimitStatus& limit) {
  const std::string rate = context.escaped(rate_of(limit));
  const std::uint64_t spacing_ns = limit.amount() == 0 ? 0 : limit.period_ns() / limit.amount();
  return "Leaky bucket: calls pass evenly spaced, one each " + format_duration(spacing_ns) + " (" +
         rate + "); up to " + tokens(limit.burst()) +
         " may be taken early. Calls that wait are let through in turn.";
}

std::string fixed_window(const Context& context, const v1::LimitStatus& limit) {
  return "Fixed window: " + tokens(limit.amount()) + " in each " + of_period(context, limit) +
         ". They come at the window's start, and what is left lapses at its end; around an edge, "
         "up to twice as many can pass in less than one window.";
}

std::string sliding_window(const Context& context, const v1::LimitStatus& limit) {
  return "Sliding window: at most " + tokens(limit.amount()) + " in any " +
         of_period(context, limit) +
         ", wherever it begins. What was spent comes back one window "
         "later.";
}

std::string promise(const Context& context, const v1::LimitStatus& limit) {
  if (limit.amount() == 0) return "Lets nothing pass: its amount is 0.";
  if (limit.algorithm() == "token_bucket") return token_bucket(context, limit);
  if (limit.algorithm() == "leaky_bucket") return leaky_bucket(context, limit);
  if (limit.algorithm() == "fixed_window") return fixed_window(context, limit);
  if (limit.algorithm() == "sliding_window") return sliding_window(context, limit);
  return context.escaped(limit.algorithm()) + ": " + context.escaped(rate_of(limit)) + ", burst " +
         format_exact(limit.burst()) +
         ". (This program does not know the algorithm; the agent is "
         "newer.)";
}

constexpr std::uint64_t kEndlessMs = UINT64_MAX / 1'000'000;

std::string time_of(std::uint64_t ms) {
  return format_duration(std::min(ms, kEndlessMs) * 1'000'000);
}

std::string after(const v1::LimitStatus& limit) {
  // An agent of version 0.1 does not say.
  if (limit.fallback_after_ms() == 0) return "the time that the rule's fallback says (`after`)";
  return "up to " + time_of(limit.fallback_after_ms());
}

// "200/s of 300/s"
std::string part_of(const Context& context, const v1::LimitStatus& limit, double per_s) {
  return format_per_s(per_s) + "/s of " + context.escaped(rate_of(limit)) +
         (limit.lease().per_host() ? " per host" : "");
}

Paragraph share(const Context& context, const v1::LimitStatus& limit) {
  const v1::LeaseStatus& lease = limit.lease();
  const std::string wants = "it wants " + format_per_s(lease.want_per_s()) + "/s";
  const std::string since = "; so since " + time_of(lease.since_ms());
  if (lease.fallback())
    return {"This host",
            "is in fallback (" + context.escaped(limit.fallback()) + ") since " +
                time_of(lease.since_ms()) + ", for want of a lease and of a server that answers: " +
                (limit.fallback() == "open" ? "everything passes"
                                            : format_per_s(lease.in_force_per_s()) + "/s") +
                "; " + wants,
            Style::bad};
  if (lease.state() == "tail")
    return {"This host",
            "lives on the tail of a lease that has ended: " +
                part_of(context, limit, lease.tail_rate_per_s()) + ", for " +
                time_of(lease.tail_left_ms()) + " more; " + wants + since,
            Style::warn};
  if (lease.state() != "live")
    return {"This host",
            lease.want_per_s() > 0
                ? "has no lease yet; " + wants + since
                : std::string("has no lease, and wants none; the first call that is "
                              "refused asks for one"),
            lease.want_per_s() > 0 ? Style::warn : Style::plain};
  std::string text = "may spend " + part_of(context, limit, lease.rate_per_s());
  if (lease.rate_per_s() == 0)
    text =
        "gets single tokens out of the server's own bucket, of " + context.escaped(rate_of(limit));
  text += " and hold " + format_count(static_cast<std::uint64_t>(lease.burst())) + " of " +
          format_exact(limit.burst()) + ": " + wants + since + "; the lease ends in " +
          time_of(lease.left_ms()) + " if nothing renews it";
  return {"This host", text};
}

std::string others_text(const Context& context, const v1::LimitStatus& limit,
                        const std::vector<v1::HostReport>& hosts, const std::string& own_host) {
  constexpr std::size_t kNamesMax = 4;
  double wanted = 0;
  std::size_t count = 0;
  std::string names;
  for (const v1::HostReport& host : hosts) {
    if (host.host() == own_host || (host.wanted_rate() == 0 && host.leased_rate() == 0)) continue;
    wanted += static_cast<double>(host.wanted_rate()) / 1e6;
    if (++count > kNamesMax) continue;
    names += (names.empty() ? "" : ", ") + context.escaped(host.host()) + " wants " +
             format_per_s(static_cast<double>(host.wanted_rate()) / 1e6) + "/s and has " +
             format_per_s(static_cast<double>(host.leased_rate()) / 1e6) + "/s";
  }
  if (count > kNamesMax) names += ", ...";
  if (count != 0)
    return plural(count, "other host wants ", "other hosts want ") + format_per_s(wanted) +
           "/s: " + names;
  if (!hosts.empty()) return "no other host wants any";
  const std::uint32_t divided = limit.lease().hosts();
  return divided > 1 ? plural(divided - 1, "other host shares", "other hosts share") + " the limit"
                     : std::string();
}

std::string without_server(const Context& context, const v1::LimitStatus& limit) {
  const v1::LeaseStatus& lease = limit.lease();
  std::string text = "The lease runs on to its end";
  if (lease.tail_rate_per_s() > 0)
    text += ", then a tail of " + format_per_s(lease.tail_rate_per_s()) + "/s to its own";
  text += ". Then it is ";
  if (limit.fallback() == "open") return text + "open: everything passes.";
  if (limit.fallback() == "closed") return text + "closed: nothing passes.";
  return text + context.escaped(limit.fallback()) + ": " + context.escaped(limit.fallback_text()) +
         ".";
}

std::string fallback(const Context& context, const v1::LimitStatus& limit) {
  if (limit.has_lease())
    return "Its processes go on by themselves: with the lease until it ends, with the tail, and "
           "then "
           "as without the server.";
  const std::string first =
      "It goes on as before for " + after(limit) + ", minted by the processes themselves. Then ";
  if (limit.fallback() == "open") return first + "it is open: everything passes.";
  if (limit.fallback() == "closed")
    return first + "it is closed: nothing passes once the bucket is empty.";
  const std::string text = context.escaped(limit.fallback_text());
  if (limit.fallback() == "local")
    return first + "local: " + (text.empty() ? "a rate of its own" : text) +
           ", for all processes together.";
  return first + context.escaped(limit.fallback()) + ": " + text + ".";
}

std::string level(const v1::LimitStatus& limit) {
  const auto percent = static_cast<std::uint32_t>(fill_of(limit) * 1000);
  std::string text = format_exact(limit.level()) + " of " +
                     format_exact(limit.burst() != 0 ? limit.burst() : limit.amount()) + " (" +
                     format_permille(percent) + ")";
  if (limit.next_edge_ms() != 0) {
    text += "; the next window begins in " +
            format_duration(std::min(limit.next_edge_ms(), kEndlessMs) * 1'000'000);
  }
  return text;
}

std::string reserve(const v1::LimitStatus& limit) {
  std::string text;
  for (int i = 0; i < limit.reserve_size(); ++i) {
    const auto place = static_cast<std::size_t>(i);
    if (limit.reserve(i) == 0 || place >= weir::kClassNames.size()) continue;
    if (!text.empty()) text += ", ";
    text += std::string{weir::kClassNames[place]} + " leaves the last " + tokens(limit.reserve(i));
  }
  return text.empty() ? text : text + " to the classes above it";
}

std::string waiting(const v1::LimitStatus& limit) {
  if (limit.waiting() == 0 && limit.owed() == 0) return "nobody";
  return plural(limit.waiting(), "call waits", "calls wait") + " for " + tokens(limit.owed());
}

}  // namespace

std::vector<Paragraph> explain(const Context& context, const v1::LimitStatus& limit,
                               const std::vector<v1::HostReport>& others,
                               const std::string& own_host) {
  std::vector<Paragraph> out;
  out.push_back({"Limit", context.escaped(limit.name()), Style::bold});
  if (!limit.description().empty()) out.push_back({"About", context.escaped(limit.description())});
  out.push_back({"Promise", promise(context, limit)});
  if (limit.has_lease()) {
    out.push_back({"Scope", "cluster: all hosts together"});
    out.push_back(share(context, limit));
    if (const std::string text = others_text(context, limit, others, own_host); !text.empty())
      out.push_back({"Others", text});
  }
  out.push_back({"Tokens now", level(limit), limit.level() == 0 ? Style::warn : Style::plain});
  out.push_back({"Admitted", format_per_s(limit.spent_per_s()) + "/s, " +
                                 tokens(limit.spent_total()) + " in total"});
  out.push_back({"Refused",
                 format_per_s(limit.refused_per_s()) + "/s, " +
                     format_exact(limit.refused_total()) +
                     (limit.refused_total() == 1 ? " call" : " calls") + " in total",
                 limit.refused_per_s() >= 0.005 ? Style::bad : Style::plain});
  if (limit.retried_total() != 0)
    out.back().text += ", " + format_exact(limit.retried_total()) + " of them retries";
  out.push_back({"Waiting", waiting(limit)});
  if (const std::string text = reserve(limit); !text.empty()) out.push_back({"Reserve", text});
  if (limit.has_lease()) out.push_back({"Without server", without_server(context, limit)});
  out.push_back({"Without the agent", fallback(context, limit)});
  if (limit.striped())
    out.push_back({"Stripes",
                   "on: each CPU has a share of its own, so that busy cores do not "
                   "contend"});
  if (limit.forged_total() != 0) {
    out.push_back({"Healed",
                   plural(limit.forged_total(), "word", "words") +
                       " that a client had damaged or forged; the bucket was set right",
                   Style::warn});
  }
  if (limit.lost_total() != 0) {
    out.push_back({"Lost", tokens(limit.lost_total()) +
                               " that a minter that died or came late never delivered"});
  }
  std::string place = "domain " + context.escaped(limit.domain());
  if (limit.line() > 0) place += ", line " + std::to_string(limit.line()) + " of the rules file";
  out.push_back({"Defined", place});
  return out;
}

}  // namespace weir::cli
