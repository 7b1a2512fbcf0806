#include "bench/rows.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <utility>

#include "shm/clock.h"
#include "shm/stripe.h"

namespace weir::bench {

namespace {

struct RowPlan {
  const char* name;
  ItemIndex candidate;
  ItemIndex floor;
  const char* floor_text;
  double bar;
};
constexpr char kOneFetchSub[] = "fetch_sub, 1 process";
constexpr char kTwoFetchSub[] = "fetch_sub, 2 processes";
constexpr RowPlan kRowPlans[] = {
    {"admit/1p", kAdmit1, kFloor1, kOneFetchSub, 2.2},
    {"admit/2p", kAdmit2, kFloor2, kTwoFetchSub, 1.3},
    {"refuse/1p", kRefuse1, kFloor1, kOneFetchSub, 0.5},
    {"refuse/2p", kRefuse2, kFloor1, kOneFetchSub, 0.5},
    {"admit_striped/1p", kStriped1, kFloor1, kOneFetchSub, 0.9},
    {"admit_striped/2p", kStriped2, kFloor2, kTwoFetchSub, 0.15},
    {"saturated/2p", kSaturated2, kFloorRead2, "load + compare, 2 processes", 3},
    {"call/admit/1p", kAdmitCall1, kFloor1, kOneFetchSub, 0},
    {"call/refuse/1p", kRefuseCall1, kFloor1, kOneFetchSub, 0},
    {"call/admit_striped/1p", kStripedCall1, kFloor1, kOneFetchSub, 0},
    {"call/saturated/2p", kSaturatedCall2, kFloorRead2, "load + compare, 2 processes", 0},
    {"call/nothing/1p", kCall1, kFloor1, kOneFetchSub, 0},
};

constexpr double kIdleFloorPercent = 0.5;
constexpr int kIdleLimits = 1000;

// The limit, if the agent has it.
weir_limit* shared_limit(weir_client* client, const std::string& name) {
  weir_limit* limit = nullptr;
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);
  if (weir_limit_get(client, name.c_str(), nullptr, &limit) == WEIR_OK &&
      weir_limit_read(limit, &info) == WEIR_OK && info.shared == 1)
    return limit;
  std::fprintf(stderr, "bench: the agent does not know the limit %s\n", name.c_str());
  return nullptr;
}

std::vector<Op> make_ops(FloorWords& words, const std::string& socket) {
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = socket.c_str();
  options.require_agent = 1;
  options.connect_timeout_ms = 2000;
  options.label = "weir-bench";
  weir_client* client = nullptr;  // lives as long as the process
  if (const weir_status status = weir_open(&options, &client); status != WEIR_OK) {
    std::fprintf(stderr, "bench: weir_open: %s\n", weir_strerror(status));
    return {};
  }
  std::vector<Op> ops(kOps * kVariants);
  words.alone.store(INT64_MAX / 2);
  for (std::uint32_t variant = 0; variant < kVariants; ++variant) {
    Op* of = &ops[kOps * variant];
    words.shared[variant].word.store(INT64_MAX / 2);
    of[kFetchSubAlone] = {run_fetch_sub, nullptr, &words.alone};
    of[kFetchSubShared] = {run_fetch_sub, nullptr, &words.shared[variant].word};
    of[kLoadCompare] = {run_load_compare, nullptr, &words.read};
    of[kCallAlone] = {run_call_alone, nullptr, nullptr};
    of[kAdmit] = {run_try_acquire, shared_limit(client, admit_limit(variant)), nullptr};
    of[kRefuse] = {run_try_acquire, shared_limit(client, kRefuseLimit), nullptr};
    of[kStriped] = {run_try_acquire, shared_limit(client, kStripedLimit), nullptr};
    of[kSaturated] = {run_try_acquire, shared_limit(client, kSaturatedLimit), nullptr};
    for (const OpIndex op : {kAdmit, kRefuse, kStriped, kSaturated})
      if (of[op].limit == nullptr) return {};
    constexpr std::pair<OpIndex, OpIndex> kByCall[] = {{kAdmitCall, kAdmit},
                                                       {kRefuseCall, kRefuse},
                                                       {kStripedCall, kStriped},
                                                       {kSaturatedCall, kSaturated}};
    for (const auto& [call, inlined] : kByCall)
      of[call] = {run_try_acquire_call, of[inlined].limit, nullptr};
  }
  // The one token of the day.
  (void)weir_try_acquire(ops[kRefuse].limit, 1);
  return ops;
}

Row make_row(const RowPlan& plan, const Session& session) {
  Row row;
  row.name = plan.name;
  row.floor = plan.floor_text;
  row.bar = plan.bar;
  row.found = session.compare(plan.candidate, plan.floor);
  constexpr std::size_t kRoundsMin = 10;
  if (row.found.rounds < kRoundsMin)
    row.note = "only " + std::to_string(row.found.rounds) + " rounds counted: too much else runs";
  if (const std::uint64_t surprises = session.surprises(plan.candidate); surprises != 0)
    row.note = std::to_string(surprises) + " slices with unexpected answers";
  return row;
}

// The bucket that was drained all the time must have let through what was minted, to the token.
void settle_saturated(Row& row, const Session& session, const Balance& before,
                      const std::optional<Balance>& after) {
  if (!after) {
    row.note = "the bucket did not come to rest";
    return;
  }
  const std::uint64_t owed = admitted_between(before, *after);
  const std::uint64_t admitted = session.admitted(kSaturated) + session.admitted(kSaturatedCall);
  row.admitted_over_minted =
      owed == 0 ? 0 : static_cast<double>(admitted) / static_cast<double>(owed);
  std::fprintf(stderr,
               "  saturated: %" PRIu64 " admitted; %" PRIu64 " minted, level %" PRIu64
               " before, %" PRIu64 " after, %" PRIu64 " cut\n",
               admitted, after->minted_total - before.minted_total, before.level, after->level,
               after->cut_total - before.cut_total);
}

// Stripes are dealt out of what is minted: calls go to them until they serve nearly all.
Balance warm_stripes(Session& session, const Books& books) {
  constexpr int kTurnsMax = 200;
  Balance before = books.now(kStripedLimit);
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    const std::uint64_t admitted = session.warm_stripes();
    const Balance after = books.now(kStripedLimit);
    const std::uint64_t from_stripes = after.stripes_taken - before.stripes_taken;
    before = after;
    if (admitted > 0 && from_stripes >= admitted - admitted / 1000) break;
  }
  return before;
}

// A striped row in which the calls fell through to the central word measures something else.
void settle_striped(std::vector<Row>& rows, const Session& session, const Balance& before,
                    const std::optional<Balance>& after) {
  constexpr double kShareMin = 0.9;
  const auto admitted =
      static_cast<double>(session.admitted(kStriped) + session.admitted(kStripedCall));
  const double share =
      !after || admitted <= 0
          ? 0
          : static_cast<double>(after->stripes_taken - before.stripes_taken) / admitted;
  std::fprintf(stderr, "  striped: %.1f %% of the calls were served by a stripe\n", 100 * share);
  std::string note;
  if (shm::rseq_area_offset() == 0)
    note = "no restartable sequences here: the central word serves";
  else if (share < kShareMin)
    note = "too few calls were served by a stripe";
  for (Row& row : rows)
    if (!note.empty() && row.name.find("admit_striped") != std::string::npos) row.note = note;
}

}  // namespace

std::vector<Row> measure_calls(const AgentProcess& agent, const Effort& effort) {
  const auto books = Books::open(agent.socket_path());
  if (!books) {
    std::fprintf(stderr, "bench: cannot read the agent's books\n");
    return {};
  }
  const auto saturated = books->at_rest(kSaturatedLimit);
  Pair pair;
  if (!saturated ||
      !pair.start([&](FloorWords& words) { return make_ops(words, agent.socket_path()); })) {
    std::fprintf(stderr, "bench: cannot set up the measurement\n");
    return {};
  }
  if (!pair.has_partner()) std::fprintf(stderr, "bench: one CPU only: no rows of two processes\n");
  Session session(pair);
  const Balance striped = warm_stripes(session, *books);
  session.run(effort);
  std::vector<Row> rows;
  for (const RowPlan& plan : kRowPlans)
    rows.push_back(make_row(plan, session));
  settle_striped(rows, session, striped, books->at_rest(kStripedLimit));
  // The two saturated rows drain the same bucket; the balance is that of both.
  const auto at_rest = books->at_rest(kSaturatedLimit);
  for (Row& row : rows)
    if (row.name == "saturated/2p") settle_saturated(row, session, *saturated, at_rest);
  std::fprintf(stderr, "  %" PRIu64 " slices counted, %" PRIu64 " repeated\n",
               session.slices_counted(), session.slices_repeated());
  return rows;
}

std::optional<Row> measure_idle_agent(const std::string& agent_program, const Effort& effort) {
  AgentProcess agent;
  if (!agent.start(agent_program, idle_rules(kIdleLimits))) {
    std::fprintf(stderr, "bench: %s\n", agent.error().c_str());
    return std::nullopt;
  }
  // It settles once it ticks slowly; an agent that never does is measured as it is.
  const auto books = Books::open(agent.socket_path());
  constexpr int kSettleStepUs = 100'000;
  constexpr int kSettleStepsMax = 50;
  int step = 0;
  while (books && !books->agent_sleeps() && ++step < kSettleStepsMax)
    ::usleep(kSettleStepUs);
  ::usleep(10 * kSettleStepUs);
  // In five parts, so that the percent is a median too.
  constexpr int kParts = 5;
  std::vector<double> percents;
  for (int part = 0; part < kParts; ++part) {
    const std::int64_t began = shm::read_mono_ns();
    const std::uint64_t cpu_began = agent.cpu_ns();
    ::usleep(static_cast<useconds_t>(effort.idle_ns / kParts / 1000));
    const auto cpu = static_cast<double>(agent.cpu_ns() - cpu_began);
    percents.push_back(100 * cpu / static_cast<double>(shm::read_mono_ns() - began));
  }
  Row row;
  row.name = "idle_agent_cpu";
  row.floor = "0.5 % of a core";
  row.bar = 1.0;
  row.found.rounds = percents.size();
  row.found.ns_median = median(percents);
  row.found.floor_ns_median = kIdleFloorPercent;
  row.found.ratio = row.found.ns_median / kIdleFloorPercent;
  row.found.ratio_p10 = quantile(percents, 0) / kIdleFloorPercent;
  row.found.ratio_p90 = quantile(percents, 1) / kIdleFloorPercent;
  if (!books || !books->agent_sleeps()) row.note = "the agent never went over to its slow tick";
  return row;
}

}  // namespace weir::bench
