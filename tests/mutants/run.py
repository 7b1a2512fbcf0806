#!/usr/bin/env python3
"""Takes one protecting rule out of a copy of the sources at a time and shows that a test fails.

    tests/mutants/run.py [NAME...]     all, or those whose name contains a NAME
    tests/mutants/run.py --check       only whether the text of each is there

Each mutant is a text replaced by another in one file. A text that is not found fails the run: a
rule that moved takes its mutant along. What a schedule of threads would have to hit by chance
(the order of two accesses) has its mutants in tests/models instead.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHM = ["shm/view.cpp", "shm/segment.cpp"]
MINTER = ["agent/mint/minter.cpp", "agent/mint/leased.cpp"] + SHM
TOOLKIT = ["shm/toolkit.cpp", "shm/toolkit_reap.cpp", "adaptive/breaker.cpp", "adaptive/in_flight.cpp"] + SHM
def sources(folder):
    return sorted(f"{folder}/{name}" for name in os.listdir(os.path.join(ROOT, folder)) if name.endswith(".cpp"))


CLIENT = sources("libclient") + sources("shm") + sources("adaptive")
SHEDDER = ["adaptive/shedder.cpp", "adaptive/shed_classes.cpp"]
SUITES = {
    "mint": ["tests/unit/shm/mint_test.cpp"],
    "bucket": ["tests/unit/shm/bucket_test.cpp"],
    "stripe": ["tests/unit/shm/stripe_test.cpp"],
    "words": ["tests/unit/shm/words_test.cpp"],
    "segment": ["tests/unit/shm/segment_test.cpp"] + SHM,
    "minter": ["tests/unit/agent/minter_test.cpp"] + MINTER,
    "sliding": ["tests/unit/agent/sliding_test.cpp"] + MINTER,
    "waiters": ["tests/unit/agent/waiters_test.cpp"] + MINTER,
    "breaker": ["tests/unit/adaptive/breaker_test.cpp", "adaptive/breaker.cpp", "adaptive/breaker_counts.cpp"],
    "reap": ["tests/unit/shm/toolkit_test.cpp"] + TOOLKIT,
    "enter": ["tests/unit/client/toolkit_enter_test.cpp"] + CLIENT,
    "room": ["tests/unit/client/toolkit_room_test.cpp"],
    "quota_table": ["tests/unit/agent/quota_table_test.cpp", "agent/quota/table.cpp"] + [
        "lease/" + name + ".cpp" for name in ("names", "quota", "quota_desk", "quota_desk_talk")] + ["shm/quota.cpp"] + SHM,
    "guard": ["tests/unit/client/toolkit_guard_test.cpp"] + CLIENT,
    "shedder": ["tests/unit/adaptive/shedder_test.cpp", "tests/unit/adaptive/shedder_hostile_test.cpp",
                "tests/unit/adaptive/shed_classes_test.cpp"] + SHEDDER,
    "overload": ["tests/unit/adaptive/overload_test.cpp"] + SHEDDER + ["adaptive/" + name + ".cpp" for name in (
        "gradient", "published_bbr", "published_limiters")] + ["sim/overload/" + name + ".cpp" for name in (
            "arms", "host", "measure", "options", "report")],
    "toolkit": ["tests/unit/agent/toolkit_test.cpp", "agent/domain.cpp", "agent/domain_lease.cpp"] + sorted(set(
        [s for s in sources("agent/toolkit") if not s.endswith("metrics.cpp")] + sources("agent/mint") + sources("shm") +
        sources("adaptive") + sources("rules"))),
    "quota_take": ["tests/unit/client/quota_take_test.cpp"] + CLIENT,
    "decide": ["tests/unit/client/toolkit_decide_test.cpp"] + CLIENT,
}

FOLDERS = ("shm", "adaptive", "lease", "rules", "agent", "daemon", "libclient", "tests/unit/shm", "tests/unit/agent",
           "tests/unit/adaptive", "tests/unit/client", "sim/overload")
PROTOS = ["weir/v1/lease", "weir/v1/admin"]
WITH_PROTO = {"toolkit"}
LIBRARIES = {"toolkit": ["-lyaml-cpp", "-lspdlog", "-lfmt", "-lprotobuf"]}

# name, file, text, replacement, suite
MUTANTS = [
    ("blind_mint", "shm/mint.h",
     "const std::uint64_t room = rule.burst - std::min(book.level, rule.burst);\n  const auto elapsed",
     "const std::uint64_t room = rule.burst - std::min(left, rule.burst);\n  const auto elapsed", "mint"),
    ("fixed_window_spends_after_the_edge", "shm/mint.h",
     "plan.pay = rule.burst - std::min(book.level, rule.burst);\n  plan.time_ns = now_ns;",
     "plan.pay = rule.burst - std::min(left, rule.burst);\n  plan.time_ns = now_ns;", "mint"),
    ("undo", "shm/bucket.h", "  shut_gate(slot, epoch, before);\n  return Spend::refused;\n}\n\n// Any",
     "  slot.tokens.fetch_add(1);\n  shut_gate(slot, epoch, before);\n  return Spend::refused;\n}\n\n// Any",
     "bucket"),
    ("large_request_shuts_the_gate_for_all", "shm/bucket.h",
     "seen <= 0 ? 0 : static_cast<std::uint64_t>(seen)", "0 * static_cast<std::uint64_t>(seen)", "bucket"),
    ("claim_is_stored", "shm/mint.h",
     "if (!slot.book.compare_exchange_strong(word, encode_book(plan.time_ns, plan.level),\n"
     "                                           std::memory_order_acq_rel, std::memory_order_relaxed))\n"
     "      break;",
     "slot.book.store(encode_book(plan.time_ns, plan.level)); (void)word;", "mint"),
    ("no_fence", "shm/mint.h", "if (mint_of(word) != mint_of(fenced)) return false;", "(void)fenced;", "mint"),
    ("refunds_stay", "shm/mint.h", "slot.returned.exchange(0, std::memory_order_relaxed)",
     "slot.returned.load(std::memory_order_relaxed)", "mint"),
    ("refund_keeps_the_fraction", "shm/mint.h",
     "if (fold > 0 && fold == room) plan.time_ns = std::max(plan.time_ns, end_ns);", "", "mint"),
    ("refund_beyond_the_burst", "shm/mint.h", "const std::uint64_t fold = std::min(returned, room);",
     "const std::uint64_t fold = std::min<std::uint64_t>(returned, 1 << 20);", "mint"),
    ("a_hidden_bucket_stays_shut", "shm/mint.h", "    reopen_gate(slot);\n", "    ;\n", "mint"),
    ("forged_tokens_stay", "shm/mint.h", "const std::uint64_t left = std::min(level, most);",
     "const std::uint64_t left = level;", "mint"),
    ("memory_is_not_reserved", "shm/segment.cpp",
     "const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0",
     "const int error = ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ? errno : 0; error != 0",
     "segment"),
    ("a_forged_book_is_believed", "shm/book.h", "behind > kBookTimeMask - kBookAheadUnits", "behind > kBookTimeMask",
     "words"),
    ("the_rate_ignores_the_lease", "shm/mint.h", "if (mono_ns < lease_end_mono_ns)", "if (mono_ns < kForever)",
     "mint"),
    ("masked_cpu", "shm/stripe.h",
     '"cmpq %[stripes], %%rax\\n\\t"', '"andq $0, %%rax\\n\\tcmpq $1, %%rax\\n\\t"', "stripe"),
    ("rules_without_future_write", "shm/segment.cpp", "kCountersSeals | F_SEAL_FUTURE_WRITE", "kCountersSeals",
     "segment"),
    ("counters_that_shrink", "shm/segment.cpp", "F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL",
     "F_SEAL_GROW | F_SEAL_SEAL", "segment"),
    ("memory_reserved_later", "shm/segment.cpp", "::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes))",
     "(::ftruncate(fd.get(), static_cast<off_t>(bytes)) * 0)", "segment"),
    ("stripes_outside_the_level", "agent/mint/minter.cpp", "    sum += granted - seen;\n", "", "minter"),
    ("sliding_cells_leave_early", "agent/mint/sliding.h", "(kSlidingCells - 2)", "(kSlidingCells * 2)", "sliding"),
    ("sliding_trusts_a_strangers_mint", "agent/mint/minter.cpp", "const bool unknown = word != ledger.book_word ||",
     "const bool unknown =", "sliding"),
    ("put_by_survives_a_strangers_mint", "agent/mint/minter.cpp", "if (stranger) lose_put_by();", "(void)stranger;",
     "waiters"),
    ("refusals_do_not_ring", "agent/mint/minter.cpp", "!pressed && wait_ns >= kRingsFromNs ? 1 : 0", "0 * wait_ns * pressed",
     "minter"),
    ("a_pressed_limit_waits", "agent/mint/minter.cpp", "  if (!pressed) return wait_ns;\n", "  return wait_ns;\n", "minter"),
    ("every_limit_in_every_tick", "agent/mint/minter.cpp", "due_ns_[index] = std::min(together(now_ns, wait_ns), rule.until_mono_ns);",
     "due_ns_[index] = now_ns; (void)wait_ns;", "minter"),
    ("a_doorbell_beyond_the_table", "agent/mint/minter.cpp", "if (index < limits_.size() && limits_[index].active) due_ns_[index] = 0;",
     "due_ns_[index % limits_.size()] = 0;", "minter"),
    ("waiters_without_a_sequence", "shm/layout.h", "return sequence << 2 | static_cast<std::uint32_t>(state);",
     "(void)sequence; return static_cast<std::uint32_t>(state);", "waiters"),
    ("wakes_without_a_budget", "agent/mint/waiters.h", "          --wakes;\n", "", "waiters"),
    # The availability toolkit.
    ("more_than_one_probe", "adaptive/breaker.cpp",
     "if (left > 0) return {word, BreakerVerdict::refuse, left};", "", "breaker"),
    ("a_lost_probe_is_waited_for", "adaptive/breaker.cpp",
     "const TimeNs left = left_ns(fields.due, now_ns, probing ? probe_ns : open_longest_ns(policy));",
     "const TimeNs left = probing ? probe_ns : left_ns(fields.due, now_ns, open_longest_ns(policy));", "breaker"),
    ("an_answer_of_an_earlier_probe_counts", "adaptive/breaker.cpp",
     "if (fields.state != BreakerState::probing || fields.generation != generation ||\n      fields.owner",
     "if (fields.state != BreakerState::probing ||\n      fields.owner", "breaker"),
    ("calls_of_before_trip_it", "adaptive/breaker.cpp",
     "if (fields.state != BreakerState::closed || fields.generation != generation) return word;",
     "if (fields.state != BreakerState::closed) return word;", "breaker"),
    ("the_probes_of_the_dead_stay", "shm/toolkit_reap.cpp",
     "  abandon_probes(view, slot, now_mono_ns, reaped);\n", "", "reap"),
    ("a_next_owner_is_reaped", "shm/toolkit_reap.cpp",
     "holder.process != slot || holder.process_generation != generation", "holder.process != slot", "reap"),
    ("a_slot_that_changed_hands_is_reaped", "shm/toolkit_reap.cpp",
     "if (!process.owner.compare_exchange_strong(found, reaping)) return reaped;",
     "process.owner.compare_exchange_strong(found, reaping);", "reap"),
    ("an_unfinished_claim_stays", "shm/toolkit_reap.cpp",
     "const bool unfinished = state == ProcessState::claiming &&",
     "const bool unfinished = false && state == ProcessState::claiming &&", "reap"),
    ("a_moving_holder_is_hung", "shm/toolkit_reap.cpp", "if (stripe != seen_ || ", "if (", "reap"),
    ("the_dead_leave_the_total", "shm/toolkit_reap.cpp", "    recount(view, i, now_mono_ns);\n  }\n  reaped.permits",
     "  }\n  reaped.permits", "reap"),
    ("a_total_without_bound", "libclient/room.h",
     "  while (seen < most) {\n"
     "    if (!total.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst, kRelaxed)) continue;\n"
     "    if (seen < room.look(std::memory_order_seq_cst)) [[likely]]\n",
     "  while (most != -1) {\n"
     "    if (!total.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst, kRelaxed)) continue;\n",
     "enter"),
    ("no_second_look_at_the_limit", "libclient/room.h", "if (seen < room.look(std::memory_order_seq_cst)) [[likely]]\n",
     "if (seen >= 0)\n", "room"),
    ("no_reserve", "libclient/room.h", "reserve < limit ? limit - reserve : 0", "limit", "enter"),
    ("permits_stay_behind", "libclient/toolkit_bind.cpp", "permits = permits_of(resource, ended);", "permits = 0;",
     "enter"),
    ("carried_permits_without_end", "libclient/toolkit_enter.cpp",
     "if (resource.carried.compare_exchange_weak(left, left - 1, kRelaxed)) return true;", "return true;", "enter"),
    ("a_child_leaves_for_its_parent", "libclient/toolkit_bind.cpp",
     "    r->binding.fetch_add(1, std::memory_order_release);\n  }\n}", "  }\n}", "enter"),
    ("nobody_reaps_without_an_agent", "libclient/toolkit_enter.cpp",
     "const Reaped reaped = reap_dead(at->toolkit, own_pid_namespace(), now);", "const Reaped reaped;", "enter"),
    ("a_refused_guard_keeps_its_permit", "libclient/toolkit_guard.cpp",
     "  (void)weir_leave(&guard.tenant);\n  (void)weir_leave(&guard.entry);\n}", "  (void)guard;\n}", "guard"),
    ("a_late_guard_keeps_its_token", "libclient/toolkit_guard.cpp",
     "if (ask.limit != nullptr) (void)weir_refund(ask.limit, tokens);", "", "guard"),
    ("the_guard_probes_first", "libclient/toolkit_guard.cpp",
     "if (breaker_refuses(*ask.resource)) return", "", "guard"),
    # The shedder: what published ones get wrong, and what keeps a stranger's numbers and clocks harmless.
    *[("without_" + mend, "adaptive/shedder.h", f"bool {mend} = true;", f"bool {mend} = false;", "shedder") for mend in (
        "freeze_baseline", "fractional_rt", "second_rates", "refresh_hold", "sane_cold_start", "errors_apart",
        "fast_signal", "surge_gate", "headroom", "use_servo")],
    ("the_onset_is_believed", "adaptive/shedder.cpp", "if (waiting_count_ == kSecondCells) {",
     "if (waiting_count_ == 1) {", "shedder"),
    ("chance_is_a_step", "adaptive/shedder.cpp",
     "const double chance = kChance * std::sqrt(count);", "const double chance = 0.0 * count;", "shedder"),
    ("a_step_is_served_by_the_plan_before_it", "adaptive/shedder.cpp",
     "    rate = within(rate, (count - chance) / span_s, (count + chance + kChance) / span_s, rate);\n",
     "    rate += 0.0 * chance * span_s;\n", "shedder"),
    ("chance_is_refused_at_half_load", "adaptive/shed_classes.cpp", "busy + calm * std::max(0.0, calm_limit - busy)",
     "busy + 0.0 * calm * calm_limit", "overload"),
    ("the_most_important_class_queues_with_the_others", "adaptive/shed_classes.h", "overshoot{14.0, ", "overshoot{2.0, ",
     "overload"),
    ("the_least_important_stays", "adaptive/shed_classes.cpp", "within((1.0 - above) / fade, 0.0, 1.0, 1.0)",
     "1.0 + 0.0 * above", "shedder"),
    ("a_silent_sampler_is_believed", "adaptive/shedder.cpp",
     "return since(signal_at_ns_, at_ns) > options_.signal_stale_ns;", "(void)at_ns; return false;", "shedder"),
    ("a_blind_host_stops_shedding", "adaptive/shedder.cpp", "if (blind(at_ns)) return latency_hot();",
     "if (blind(at_ns)) return false;", "shedder"),
    ("the_largest_capacity_ever_stays", "adaptive/shedder.cpp", "double best = cell.per_second;\n  capacities_",
     "double best = std::max(capacity_per_second_, cell.per_second);\n  capacities_", "shedder"),
    ("counts_of_a_sleep_are_a_rate", "adaptive/shedder.cpp", "if (at_ns - before_ns > kGapMaxNs) {",
     "if (at_ns < before_ns) {", "shedder"),
    ("a_clock_set_back_stands_still", "adaptive/units.h", "if (now_ns > last_ns_ || last_ns_ - now_ns > kTrembleNs)",
     "if (now_ns > last_ns_)", "shedder"),
    ("a_dead_agent_sheds_for_ever", "libclient/toolkit_shed.cpp", " &&\n        !agent_gone(*resource)) {", ") {", "decide"),
    # Quotas: units of a key are taken, and given back, under that key alone, and nobody makes any.
    ("the_next_key_pays", "shm/quota.h", "    if (!quota_is_of(before, generation)) [[unlikely]]\n      return QuotaTake::moved;\n",
     "", "quota_table"),
    ("the_next_key_is_paid", "shm/quota.h", "i < kQuotaStepsMax && quota_is_of(before, generation); ++i", "i < kQuotaStepsMax; ++i",
     "quota_table"),
    ("a_shorter_key_is_not_found", "agent/quota/table.cpp", "i < 2 || i * 8 < key.size()", "i * 8 < key.size()",
     "quota_table"),
    ("a_shorter_name_is_not_found", "agent/quota/table.cpp", "i < 2 || i * 8 < name.size()", "i * 8 < name.size()",
     "quota_table"),
    ("the_last_key_pays", "shm/quota.h",
     "    if (s.key[0].load(relaxed) != key.first || s.key[1].load(relaxed) != key.second ||", "    if (", "quota_take"),
    ("the_last_quota_pays", "shm/quota.h",
     "s.name[0].load(relaxed) != name.words[0] || s.name[1].load(relaxed) != name.words[1])", "false)", "quota_take"),
    ("the_start_of_a_long_key_is_enough", "shm/quota.h", "if (s.key[i].load(relaxed) != key.word(i)) return false;", ";",
     "quota_table"),
    ("the_start_of_a_long_name_is_enough", "shm/quota.h", "if (s.name[i].load(relaxed) != name.words[i]) return false;", ";",
     "quota_table"),
    ("forged_units_stay", "shm/quota.h", "return !quota_is_of(now, generation) || quota_value(now) > expected; };",
     "return !quota_is_of(now, generation); };", "quota_table"),
    ("what_was_drained_was_consumed", "agent/quota/table.cpp", "  kept.given -= taken;\n", "", "quota_table"),
    # The agent's side of the toolkit.
    ("a_total_may_be_anything", "agent/toolkit/resource.cpp", "return after < before ? 0 : std::min(after - before, most);",
     "(void)most; return after - before;", "toolkit"),
    ("clients_force_a_breaker", "agent/toolkit/resource.cpp", "if (forced_ != BreakerState::closed ? found != forced_ : is_forced) {",
     "if (forced_ != BreakerState::closed && found != forced_) {", "toolkit"),
    ("what_was_forced_stays", "agent/toolkit/resource.cpp", "if (forced_until_ns_ != 0 && now_ns >= forced_until_ns_) {",
     "if (false) {", "toolkit"),
    ("retries_are_minted_again", "agent/toolkit/resource.cpp", "  retry_->on_retries(now_ns, adaptive::sat_sub(retry_published_, left));\n",
     "", "toolkit"),
    ("each_process_trips_for_itself", "agent/toolkit/resource.cpp", "                  .failed = grown.failed,\n                  .slow",
     "                  .failed = grown.failed / 2,\n                  .slow", "toolkit"),
    ("the_removed_stay", "agent/toolkit/resource.cpp", "void Resource::retire() { rule().hot.store(0, std::memory_order_release); }",
     "void Resource::retire() {}", "toolkit"),
    ("an_order_ends_with_the_rules", "agent/toolkit/toolkit.cpp", "      state.forced = old->forced;\n", "", "toolkit"),
    ("a_drill_is_for_all", "agent/toolkit/toolkit.cpp",
     "state.drill_permille() * adaptive::kShareWhole / 1000;", "adaptive::kShareWhole;", "toolkit"),
    ("too_many_are_half_served", "agent/toolkit/toolkit.cpp", "  if (configs.size() > names_.size()) return false;\n", "", "toolkit"),
    ("places_change_with_the_agent", "agent/toolkit/toolkit.cpp", ": tagged != by_tag.end() ? tagged->second",
     ": tagged != by_tag.end() ? static_cast<std::uint32_t>(names_.size())", "toolkit"),
    ("quantiles_for_ever", "agent/toolkit/response_times.cpp", "    window_.halve();\n", "    (void)kHalvingsMax;\n", "toolkit"),
    ("what_the_dead_held_stays", "agent/toolkit/toolkit.cpp", "if (gone) note(reap_process(view_, each.slot, each.owner, now_ns, reaped_.data()));", "",
     "toolkit"),
    ("the_dead_hold_the_queue_up", "agent/mint/minter.cpp", "    limit.waiters.forget_client(client);\n", "", "waiters"),
]


def unfit(mutant):
    """Why it cannot be applied, or nothing."""
    with open(os.path.join(ROOT, mutant[1])) as f:
        count = f.read().count(mutant[2])
    return None if count == 1 else f"the text of the mutant is there {count} times, not once"


def check():
    why = [(mutant[0], unfit(mutant)) for mutant in MUTANTS]
    for name, reason in why:
        if reason:
            print(f"{name}: {reason}")
    return 1 if any(reason for _, reason in why) else 0


def compile_all(tree, names, into, proto):
    """Each source by itself, on all cores. What went wrong, or nothing."""
    os.makedirs(into, exist_ok=True)

    def one(name):
        path = name if os.path.isabs(name) else os.path.join(tree, name)
        return subprocess.run(
            ["g++", "-std=c++20", "-O1", "-w", "-I", tree, "-I", os.path.join(tree, "libclient/include"), "-I", proto,
             '-DWEIR_VERSION_TEXT="mutant"', "-c", path, "-o", object_of(into, name)],
            capture_output=True, text=True, check=False)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(one, names))
    return "".join(each.stderr for each in done if each.returncode != 0)


def object_of(folder, name):
    return os.path.join(folder, name.strip("/").replace("/", "_") + ".o")


def proto_sources(work):
    """Our messages as C++; made once."""
    out = os.path.join(work, "proto")
    if not os.path.exists(out):
        os.makedirs(out)
        folder = os.path.join(ROOT, "proto")
        subprocess.run(["protoc", "-I", folder, f"--cpp_out={out}", *[f"{name}.proto" for name in PROTOS]], cwd=folder, check=True)
    return out


def run(mutant, work):
    """Why the mutant lives, or nothing."""
    name, file, text, replacement, suite = mutant
    if reason := unfit(mutant):
        return reason
    tree = os.path.join(work, name)
    for folder in FOLDERS:
        shutil.copytree(os.path.join(ROOT, folder), os.path.join(tree, folder))
    path = os.path.join(tree, file)
    with open(path) as f:
        source = f.read()
    with open(path, "w") as f:
        f.write(source.replace(text, replacement))
    proto = proto_sources(work)
    names = SUITES[suite] + ([os.path.join(proto, f"{name}.pb.cc") for name in PROTOS] if suite in WITH_PROTO else [])
    # What does not see the mutant is compiled once for all.
    whole = os.path.join(work, "whole")
    changed = [n for n in names if n == file] if file.endswith(".cpp") else names
    rest = [n for n in names if n not in changed]
    missing = [n for n in rest if not os.path.exists(object_of(whole, n))]
    wrong = compile_all(ROOT, missing, whole, proto) + compile_all(tree, changed, tree, proto)
    if wrong:
        return "does not compile:\n" + wrong[-2000:]
    binary = os.path.join(tree, "test")
    linked = subprocess.run(
        ["g++", *[object_of(tree, n) for n in changed], *[object_of(whole, n) for n in rest], "-lgtest", "-lgmock",
         "-lgtest_main", *LIBRARIES.get(suite, []), "-lpthread", "-o", binary], capture_output=True, text=True, check=False)
    if linked.returncode != 0:
        return "does not link:\n" + linked.stderr[-2000:]
    try:
        ran = subprocess.run([binary, "--gtest_brief=1"], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return None  # a hang is a catch
    if ran.returncode == 0:
        return "no test failed"
    return None


def main():
    wanted = sys.argv[1:]
    if wanted == ["--check"]:
        return check()
    chosen = [m for m in MUTANTS if not wanted or any(w in m[0] for w in wanted)]
    missed = 0
    with tempfile.TemporaryDirectory() as work:
        for i, mutant in enumerate(chosen):
            why = run(mutant, work)
            missed += why is not None
            print(f"[{i + 1}/{len(chosen)}] {mutant[0]}: {'caught' if why is None else 'MISSED: ' + why}", flush=True)
            shutil.rmtree(os.path.join(work, mutant[0]))
    print(f"{len(chosen) - missed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
