#include "agent/domain.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include "agent/failpoint.h"
#include "rules/calendar.h"
#include "shm/memory_order.h"
#include "shm/wide.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;

std::uint64_t random_id() noexcept {
  std::uint64_t id = 0;
  while (id == 0)
    if (::getrandom(&id, sizeof(id), 0) != sizeof(id)) id = 0;
  return id;
}

bool is_window(Algorithm algorithm) noexcept {
  return algorithm == Algorithm::fixed_window || algorithm == Algorithm::sliding_window;
}

}  // namespace

LimitTerms terms_of(const LimitRule& rule) noexcept {
  LimitTerms terms;
  terms.algorithm = rule.algorithm;
  terms.fallback = rule.fallback.mode;
  terms.amount = rule.amount;
  terms.period_ns = rule.period_ns;
  terms.burst = is_window(rule.algorithm) ? rule.amount : rule.burst;
  terms.safe_amount = rule.fallback.amount;
  terms.safe_period_ns = rule.fallback.period_ns;
  terms.safe_burst = std::min(rule.fallback.burst, terms.burst);
  if (is_window(rule.algorithm)) {
    // A window stays a window of the same length without the agent, with what the fallback's rate
    // lets through in one.
    const std::uint64_t in_window =
        mul_div_down(rule.period_ns, rule.fallback.amount, rule.fallback.period_ns);
    terms.safe_amount = std::min(in_window, rule.amount);
    terms.safe_period_ns = rule.period_ns;
    terms.safe_burst = terms.safe_amount;
  }
  return terms;
}

Domain::Domain(const DomainRule& rule, const DomainOptions& options, Clocks clocks)
    : rule_(rule), options_(options), clocks_(std::move(clocks)) {
  rule_.limits.clear();
}

Result<std::unique_ptr<Domain>> Domain::make(const DomainRule& rule, const DomainOptions& options,
                                             Clocks clocks, std::uint64_t agent_epoch,
                                             Inherited inherited) noexcept {
  std::unique_ptr<Domain> domain(new (std::nothrow) Domain(rule, options, std::move(clocks)));
  if (!domain) return Error{Errc::system, "no memory for a domain", ENOMEM};
  domain->adopted_ = domain->adopt_counters(inherited);
  if (!domain->adopted_)
    if (const auto made = domain->make_counters(); !made) return made.error();
  if (const auto made = domain->make_rules(agent_epoch); !made) return made.error();
  domain->minter_ = std::make_unique<Minter>(domain->rules_, domain->counters_, domain->ledger_,
                                             domain->clocks_.mono_ns, options.stale_after_ns);
  domain->minter_->set_heartbeat(domain->clocks_.mono_ns());
  return domain;
}

Result<int> Domain::make_counters() {
  const CountersGeometry geometry{options_.limits_max, options_.cpus, kStripeSets,
                                  options_.clients_max * kWaitersPerClient, kLaneSets};
  const std::uint32_t cells = kStripeSets * options_.cpus;
  const ToolkitGeometry toolkit = toolkit_geometry(geometry);
  const QuotaGeometry quotas = quota_geometry(toolkit);
  auto counters = make_segment("weir.counters", quotas.counters_bytes());
  if (!counters) return counters.error();
  auto ledger = make_segment("weir.ledger", whole_ledger_bytes(cells));
  if (!ledger) return ledger.error();
  auto counters_map = map_segment(counters->get(), quotas.counters_bytes(), true);
  if (!counters_map) return counters_map.error();
  auto ledger_map = map_segment(ledger->get(), whole_ledger_bytes(cells), true);
  if (!ledger_map) return ledger_map.error();
  counters_id_ = random_id();
  format_toolkit_counters(counters_map->data(), toolkit);
  format_quota_counters(counters_map->data(), quotas);
  format_counters(counters_map->data(), geometry, counters_id_);
  ledger_ = Ledger(ledger_map->data(), options_.limits_max, cells);
  ledger_.format(counters_id_);
  if (quotas.keys_max != 0)
    QuotaLedger(ledger_map->data() + Ledger::bytes(options_.limits_max, cells), quotas.keys_max)
        .format(counters_id_);
  if (const auto sealed = seal_segment(counters->get(), SegmentKind::counters); !sealed)
    return sealed.error();
  if (const auto sealed = seal_segment(ledger->get(), SegmentKind::ledger); !sealed)
    return sealed.error();
  counters_ = CountersView(counters_map->data(), geometry);
  counters_fd_ = std::move(*counters);
  ledger_fd_ = std::move(*ledger);
  counters_map_ = std::move(*counters_map);
  ledger_map_ = std::move(*ledger_map);
  return 0;
}

// Takes over what an earlier agent left, if it is whole and of this version. The counters are
// client-writable, so only their geometry is believed, and only where it is this agent's own.
bool Domain::adopt_counters(Inherited& inherited) {
  if (!inherited.counters || !inherited.ledger) return false;
  const auto counters_bytes = check_segment(inherited.counters.get(), SegmentKind::counters);
  const auto ledger_bytes = check_segment(inherited.ledger.get(), SegmentKind::ledger);
  if (!counters_bytes || !ledger_bytes) return false;
  auto counters_map = map_segment(inherited.counters.get(), *counters_bytes.operator->(), true);
  auto ledger_map = map_segment(inherited.ledger.get(), *ledger_bytes.operator->(), true);
  if (!counters_map || !ledger_map) return false;
  const auto geometry = validate_counters(counters_map->bytes());
  if (!geometry) return false;
  const CountersGeometry& g = *geometry.operator->();
  const std::uint32_t cells = g.stripe_sets * g.cpus;
  if (g.limits_max != options_.limits_max || g.cpus != options_.cpus ||
      g.stripe_sets != kStripeSets || g.waiters != options_.clients_max * kWaitersPerClient ||
      ledger_map->size() < Ledger::bytes(g.limits_max, cells))
    return false;
  // Counters of an agent without the toolkit will do where no resource needs it.
  const auto& header = *reinterpret_cast<const CountersHeader*>(counters_map->data());
  const ToolkitGeometry toolkit = toolkit_geometry(g);
  const bool fits = header.resources_max.load(kRelaxed) == toolkit.resources_max &&
                    header.processes_max.load(kRelaxed) == toolkit.processes_max &&
                    header.holders_max.load(kRelaxed) == toolkit.holders_max &&
                    counters_map->size() >= toolkit.counters_bytes();
  const bool needed = !rule_.resources.empty() || !rule_.degrades.empty();
  if (!fits && (needed || header.resources_max.load(kRelaxed) != 0)) return false;
  // Quotas need their area; where nobody needs it, one that is there stays as it is.
  const std::uint32_t quota_keys = header.quota_keys.load(kRelaxed);
  if (options_.quota_keys != 0 &&
      (quota_keys != options_.quota_keys || !fits ||
       counters_map->size() < quota_geometry(toolkit).counters_bytes() ||
       ledger_map->size() < whole_ledger_bytes(cells)))
    return false;
  const Ledger ledger(ledger_map->data(), g.limits_max, cells);
  counters_id_ =
      reinterpret_cast<const CountersHeader*>(counters_map->data())->counters_id.load(kRelaxed);
  if (!ledger.fits(counters_id_)) return false;
  counters_ = CountersView(counters_map->data(), g);
  ledger_ = ledger;
  counters_fd_ = std::move(inherited.counters);
  ledger_fd_ = std::move(inherited.ledger);
  counters_map_ = std::move(*counters_map);
  ledger_map_ = std::move(*ledger_map);
  // Whoever waited in the old agent's queue asks anew.
  for (std::uint32_t i = 0; i < g.waiters; ++i)
    counters_.waiter(i).state.store(0, kRelaxed);
  return true;
}

// Always new: once sealed, the old rules segment can never be mapped for writing again.
Result<int> Domain::make_rules(std::uint64_t agent_epoch) {
  const RulesGeometry geometry{options_.limits_max};
  const ToolkitGeometry toolkit = toolkit_geometry(counters_.geometry());
  const QuotaGeometry quotas = quota_geometry(toolkit);
  auto fd = make_segment("weir.rules", quotas.rules_bytes());
  if (!fd) return fd.error();
  auto map = map_segment(fd->get(), quotas.rules_bytes(), true);
  if (!map) return map.error();
  rules_ = RulesWriter(map->data(), geometry);
  std::strncpy(rules_.header().domain, rule_.name.c_str(), sizeof(rules_.header().domain) - 1);
  format_toolkit_rules(map->data(), toolkit);
  format_quota_rules(map->data(), quotas, random_id());
  format_rules(map->data(), geometry, agent_epoch, counters_id_, options_.stale_after_ns,
               options_.client_term_ns);
  if (const auto sealed = seal_segment(fd->get(), SegmentKind::rules); !sealed)
    return sealed.error();
  rules_fd_ = std::move(*fd);
  rules_map_ = std::move(*map);
  const auto view = toolkit_of(rules_map_.bytes(), geometry,
                               {counters_map_.data(), counters_map_.size()}, counters_.geometry());
  if (view && *view.operator->()) toolkit_ = std::make_unique<Toolkit>(*view.operator->());
  const auto quota_view =
      quota_of(rules_map_.bytes(), geometry, {counters_map_.data(), counters_map_.size()},
               counters_.geometry());
  if (quota_view && *quota_view.operator->()) {
    const std::uint32_t cells = counters_.geometry().stripe_sets * counters_.geometry().cpus;
    QuotaLedger ledger(ledger_map_.data() + Ledger::bytes(options_.limits_max, cells),
                       quotas.keys_max);
    if (!ledger.fits(counters_id_)) ledger.format(counters_id_);
    quota_place_ = {*quota_view.operator->(), rules_map_.data(), ledger};
  }
  return 0;
}

QuotaGeometry Domain::quota_geometry(const ToolkitGeometry& toolkit) const {
  return {options_.quota_keys, toolkit.rules_bytes(), toolkit.counters_bytes()};
}

std::size_t Domain::whole_ledger_bytes(std::uint32_t cells) const {
  return Ledger::bytes(options_.limits_max, cells) + QuotaLedger::bytes(options_.quota_keys);
}

ToolkitGeometry Domain::toolkit_geometry(const CountersGeometry& counters) const {
  return {.resources_max = options_.resources_max,
          .features_max = agent::kFeaturesMax,
          .processes_max = std::min(options_.clients_max, kProcessesMax),
          .holders_max = std::clamp(4 * options_.resources_max, kHolderCells, kHolderCellsMax),
          .cpus = counters.cpus,
          .rules_begin = RulesGeometry{options_.limits_max}.bytes(),
          .counters_begin = counters.bytes_with_sets()};
}

int Domain::slot_of(const std::string& limit) const {
  const auto found = slots_.find(limit);
  return found == slots_.end() ? -1 : static_cast<int>(found->second);
}

// A removed limit that comes back gets its slot back, with what is left in the bucket: taking a
// limit out and putting it in again is no refill.
int Domain::find_slot(const std::string& limit) const {
  for (std::uint32_t i = 0; i < options_.limits_max; ++i)
    if (ledger_.slot(i).state != static_cast<std::uint32_t>(SlotState::empty) &&
        ledger_.slot(i).name_view() == limit)
      return static_cast<int>(i);
  return -1;
}

int Domain::free_slot(std::int64_t now_ns) const {
  int rested = -1;
  for (std::uint32_t i = 0; i < options_.limits_max; ++i) {
    const LedgerSlot& slot = ledger_.slot(i);
    if (slot.state == static_cast<std::uint32_t>(SlotState::empty)) return static_cast<int>(i);
    if (slot.state == static_cast<std::uint32_t>(SlotState::tombstone) && rested < 0 &&
        now_ns - slot.removed_mono_ns > kSlotRestNs)
      rested = static_cast<int>(i);
  }
  return rested;
}

bool Domain::has_room_for(const DomainRule& rule) const noexcept {
  const std::int64_t now_ns = clocks_.mono_ns();
  std::size_t wanted = 0, free = 0;
  for (const LimitRule& limit : rule.limits)
    if (find_slot(limit.name) < 0) ++wanted;
  for (std::uint32_t i = 0; i < options_.limits_max; ++i) {
    const LedgerSlot& slot = ledger_.slot(i);
    const bool resting = slot.state == static_cast<std::uint32_t>(SlotState::tombstone) &&
                         now_ns - slot.removed_mono_ns <= kSlotRestNs;
    if (slot.state != static_cast<std::uint32_t>(SlotState::active) && !resting) ++free;
  }
  return wanted <= free;
}

std::string Domain::places_problem(const DomainRule& rule) const {
  if (rule.resources.empty() && rule.degrades.empty()) return {};
  if (!toolkit_)
    return "the counters are those of an earlier agent without resources; restart the agent "
           "without its descriptor store to use them";
  const std::size_t wanted = Toolkit::places_of(rule);
  if (wanted <= options_.resources_max) return {};
  return std::to_string(wanted) +
         " resources, those of tenants included, and there are places for " +
         std::to_string(options_.resources_max) + "; start the agent with --resources-max " +
         std::to_string(wanted);
}

bool Domain::publish(const DomainRule& rule) noexcept {
  const std::int64_t now_ns = clocks_.mono_ns();
  const bool tools = !rule.resources.empty() || !rule.degrades.empty();
  if (toolkit_ ? !toolkit_->publish(rule, now_ns) : tools) return false;
  minter_->tick();  // up to now by the rules in force
  std::map<std::string, std::uint32_t> slots;
  std::vector<bool> used(options_.limits_max), fresh(options_.limits_max);
  // Slots that exist are kept first, so that new limits cannot take them.
  for (const LimitRule& limit : rule.limits)
    if (const int at = find_slot(limit.name); at >= 0) {
      slots[limit.name] = static_cast<std::uint32_t>(at);
      used[static_cast<std::size_t>(at)] = true;
    }
  for (const LimitRule& limit : rule.limits) {
    if (slots.contains(limit.name)) continue;
    const int at = free_slot(now_ns);
    if (at < 0 || used[static_cast<std::size_t>(at)]) return false;
    const auto index = static_cast<std::uint32_t>(at);
    LedgerSlot& ledger = ledger_.slot(index);
    const std::uint32_t generation = ledger.generation;
    ledger = LedgerSlot{};
    ledger.generation = generation;
    ledger.state = static_cast<std::uint32_t>(SlotState::active);
    std::strncpy(ledger.name, limit.name.c_str(), sizeof(ledger.name) - 1);
    slots[limit.name] = index;
    used[index] = true;
    fresh[index] = true;
  }

  const std::uint64_t flip = rules_.header().table_flip.load(kRelaxed);
  const auto table = static_cast<std::uint32_t>(~flip & 1);
  // release: whoever sees a word of what is written now sees the flip before it, too.
  std::atomic_thread_fence(std::memory_order_release);
  for (std::uint32_t i = 0; i < options_.limits_max; ++i)
    if (!used[i]) {
      if (minter_->limit(i).active ||
          ledger_.slot(i).state == static_cast<std::uint32_t>(SlotState::active))
        retire(i, now_ns);
      write_slot(table, i);
    }
  rule_ = rule;
  slots_ = std::move(slots);
  for (const LimitRule& limit : rule_.limits) {
    const std::uint32_t index = slots_.at(limit.name);
    start(index, limit, fresh[index]);
    write_rule(table, index);
    failpoint("publish.mid_table");
  }
  failpoint("publish.before_flip");
  // release: a reader that sees the flip sees the whole table.
  rules_.header().table_flip.store(((flip >> 1) + 1) << 1 | table, std::memory_order_release);
  failpoint("publish.after_flip");
  stale_all_ = true;
  for (const LimitRule& limit : rule_.limits)
    store_hot(slots_.at(limit.name));
  published_ = true;
  minter_->tick();
  minter_->refresh_stats();
  return true;
}

void Domain::retire(std::uint32_t index, std::int64_t now_ns) {
  LedgerSlot& ledger = ledger_.slot(index);
  ledger.state = static_cast<std::uint32_t>(SlotState::tombstone);
  ledger.removed_mono_ns = now_ns;
  ++ledger.generation;
  // First of all: from here on calls see that the limit is gone.
  rules_.hot(index).store(hot_word(ledger.generation, 0), std::memory_order_release);
  minter_->stop_limit(index);
}

// Brings the agent's own state of a limit in line with its rule.
void Domain::start(std::uint32_t index, const LimitRule& rule, bool fresh) {
  LedgerSlot& ledger = ledger_.slot(index);
  LimitState& state = minter_->limit(index);
  const bool was_active = state.active;
  const bool same_window = !fresh && ledger.period_ns == rule.period_ns &&
                           ledger.algorithm == static_cast<std::uint32_t>(rule.algorithm);
  if (ledger.state != static_cast<std::uint32_t>(SlotState::active)) ++ledger.generation;
  ledger.state = static_cast<std::uint32_t>(SlotState::active);
  ledger.algorithm = static_cast<std::uint32_t>(rule.algorithm);
  ledger.period_ns = rule.period_ns;

  LiveSlot& live = rules_.live(index);
  const bool was_leased = state.leased;
  state.generation = ledger.generation;
  state.leased = rule.scope == LimitScope::cluster;
  state.cluster_burst = state.leased ? rule.burst : 0;
  const LimitTerms terms = state.leased ? lease_of(rule) : terms_of(rule);
  if (was_active && !same_rates(terms, state.terms))
    minter_->change_terms(index, terms);
  else
    state.terms = terms;
  if (state.leased) store_ends(index, terms);
  ledger.burst = state.terms.burst;
  state.lease_ns = std::max(rule.fallback.after_ms * 1'000'000, 2 * options_.stale_after_ns);
  state.reserve_permille = rule.reserve_permille;
  set_reserve(state);
  minter_->look_again(index);
  const std::int64_t edge = first_edge(rule, ledger, same_window);
  ledger.edge_mono_ns = edge;
  live.edge_mono_ns.store(edge, kRelaxed);
  if (!state.leased && (!was_active || was_leased))
    live.lease_end_mono_ns.store(clocks_.mono_ns() + static_cast<std::int64_t>(state.lease_ns),
                                 kRelaxed);
  state.active = true;
  if (fresh) {
    state.stats = LimitStats{};
    // Only what the lost counters held can still be under way; a limit that comes later is new.
    const bool lost = options_.ran_before && !adopted_ && !published_;
    minter_->start_limit(index, lost || state.leased ? 0 : state.terms.burst);
  }
  if (!was_active) state.demanded = Demanded{};
  const std::uint32_t set = stripes_for(index, rule, state.stats.spent_per_s);
  if (set != state.stripe_set) {
    if (set == 0) stripes_freed_ns_[state.stripe_set] = clocks_.mono_ns();
    const bool had_it = ledger.stripe_set == set;
    ledger.stripe_set = set;
    minter_->assign_stripes(index, set, had_it);
  }
}

// Nothing may be minted of a limit whose lease nobody knows.
LimitTerms Domain::lease_of(const LimitRule& rule) const {
  if (lease_source_) return lease_source_(rule);
  LimitTerms terms;
  terms.algorithm = rule.algorithm;
  terms.fallback = Fallback::local;
  return terms;
}

void Domain::set_reserve(LimitState& state) const {
  for (std::uint32_t c = 0; c < kClasses; ++c)
    state.reserve[c] = mul_div_down(state.terms.burst, state.reserve_permille[c], 1000);
}

void Domain::write_slot(std::uint32_t table, std::uint32_t index) {
  RuleSlot& slot = rules_.rule(table, index);
  slot.state.store(ledger_.slot(index).state, kRelaxed);
  slot.generation.store(ledger_.slot(index).generation, kRelaxed);
}

void Domain::write_rule(std::uint32_t table, std::uint32_t index) {
  RuleSlot& slot = rules_.rule(table, index);
  const LimitState& state = minter_->limit(index);
  const LimitTerms& terms = state.terms;
  slot.generation.store(state.generation, kRelaxed);
  slot.algorithm.store(static_cast<std::uint32_t>(terms.algorithm), kRelaxed);
  slot.fallback.store(static_cast<std::uint32_t>(terms.fallback), kRelaxed);
  slot.amount.store(terms.amount, kRelaxed);
  slot.period_ns.store(terms.period_ns, kRelaxed);
  slot.burst.store(terms.burst, kRelaxed);
  slot.tail_amount.store(terms.tail_amount, kRelaxed);
  slot.tail_period_ns.store(terms.tail_period_ns, kRelaxed);
  slot.tail_burst_plus_1.store(terms.tail_burst + 1, kRelaxed);
  slot.cluster_burst.store(state.cluster_burst, kRelaxed);
  slot.safe_amount.store(terms.safe_amount, kRelaxed);
  slot.safe_period_ns.store(terms.safe_period_ns, kRelaxed);
  slot.safe_burst.store(terms.safe_burst, kRelaxed);
  for (std::uint32_t c = 0; c < kClasses; ++c)
    slot.reserve[c].store(state.reserve[c], kRelaxed);
  slot.stripe_set.store(state.stripe_set, kRelaxed);
  slot.stripes.store(state.stripe_set == 0 ? 0 : options_.cpus, kRelaxed);
  // A reader that looks for a name reads without looking twice: what stays is not touched.
  if (const char* name = ledger_.slot(index).name; std::memcmp(slot.name, name, kNameBytesMax) != 0)
    std::memcpy(slot.name, name, kNameBytesMax);
  slot.state.store(static_cast<std::uint32_t>(SlotState::active), kRelaxed);
}

void Domain::store_hot(std::uint32_t index) {
  const LimitState& state = minter_->limit(index);
  std::uint32_t flags = kHotActive;
  if (state.stripe_set != 0) flags |= kHotStriped;
  // libweir's plain call is of class critical.
  if (state.reserve[1] != 0 || (state.leased && state.reserve_permille[1] != 0))
    flags |= kHotReserve;
  rules_.hot(index).store(hot_word(state.generation, flags), std::memory_order_release);
}

// Fixed windows are cut where the wall clock's seconds since 1970 are multiples of the window. The
// cut is made once, when the limit starts; from then on only the monotonic clock counts.
std::int64_t Domain::first_edge(const LimitRule& rule, LedgerSlot& ledger, bool same_window) {
  if (rule.algorithm != Algorithm::fixed_window) return 0;
  // An edge that passed while no agent ran is still there to be granted.
  if (same_window && ledger.edge_mono_ns != 0) return ledger.edge_mono_ns;
  if (rule.calendar != CalendarUnit::none) return calendar_edge(rule, ledger);
  const std::int64_t now_ns = clocks_.mono_ns();
  const auto period = static_cast<std::int64_t>(rule.period_ns);
  const std::int64_t period_s = std::max<std::int64_t>(1, period / kNsPerS);
  const std::int64_t into_ns = (clocks_.wall_s() % period_s) * kNsPerS % period;
  return now_ns - into_ns;
}

const TimeZone* Domain::zone(const std::string& name) {
  auto& zone = zones_[name];
  if (!zone) zone = load_zone(name).zone;
  if (!zone) zone = std::make_shared<const TimeZone>(TimeZone::utc());
  return zone.get();
}

// The next edge on the monotonic clock. A wall clock that is set back never opens a window that
// was opened before.
std::int64_t Domain::calendar_edge(const LimitRule& rule, LedgerSlot& ledger) {
  const std::int64_t wall_s = clocks_.wall_s();
  const CalendarWindow window =
      window_at(rule.calendar, *zone(rule.timezone), std::max(wall_s, ledger.crossed_wall_s));
  ledger.edge_wall_s = window.end_wall_s;
  // The window that runs is granted: a clock set back over its beginning opens it no second time.
  ledger.crossed_wall_s = std::max(ledger.crossed_wall_s, window.start_wall_s);
  return clocks_.mono_ns() + (window.end_wall_s - wall_s) * kNsPerS;
}

void Domain::follow_calendar(std::uint32_t index, const LimitRule& rule) {
  LedgerSlot& ledger = ledger_.slot(index);
  LiveSlot& live = rules_.live(index);
  const std::int64_t now_ns = clocks_.mono_ns();
  if (now_ns < ledger.edge_mono_ns && clocks_.wall_s() >= ledger.edge_wall_s) {
    // The wall clock was set forward over the edge: the window begins now.
    ledger.edge_mono_ns = now_ns;
    live.edge_mono_ns.store(now_ns, std::memory_order_release);
  }
  if (now_ns >= ledger.edge_mono_ns) {
    // The tick before this saw the edge and granted the window that begins there.
    minter_->look_again(index);
    minter_->tick();
    ledger.crossed_wall_s = std::max(ledger.crossed_wall_s, ledger.edge_wall_s);
  }
  const std::int64_t edge = calendar_edge(rule, ledger);
  // Small differences are the two clocks' roundings; an edge that is close stays where it is.
  if (std::llabs(edge - ledger.edge_mono_ns) < 2 * kNsPerS && now_ns < ledger.edge_mono_ns) return;
  ledger.edge_mono_ns = edge;
  live.edge_mono_ns.store(edge, std::memory_order_release);
}

std::int64_t Domain::next_edge_ns(std::uint32_t index, std::int64_t now_ns) const {
  const LimitState& state = minter_->limit(index);
  if (state.terms.algorithm != Algorithm::fixed_window) return -1;
  MintRule rule = state.terms.at(INT64_MIN);
  rule.edge_mono_ns = rules_.live(index).edge_mono_ns.load(kRelaxed);
  const std::int64_t last = newest_edge(rule, now_ns);
  return last == INT64_MIN ? rule.edge_mono_ns : last + static_cast<std::int64_t>(rule.period_ns);
}

// A set that was in use rests like a slot does: a client of an earlier agent may still spend from
// it, and does not ask.
std::uint32_t Domain::free_stripe_set() const {
  const std::int64_t now_ns = clocks_.mono_ns();
  std::array<bool, kStripeSets + 1> used{};
  for (std::uint32_t i = 0; i < options_.limits_max; ++i) {
    const LedgerSlot& slot = ledger_.slot(i);
    const bool rested = slot.state == static_cast<std::uint32_t>(SlotState::tombstone) &&
                        now_ns - slot.removed_mono_ns > kSlotRestNs;
    if (slot.stripe_set <= kStripeSets && !rested) used[slot.stripe_set] = true;
    if (minter_->limit(i).stripe_set <= kStripeSets) used[minter_->limit(i).stripe_set] = true;
  }
  for (std::uint32_t set = 1; set <= kStripeSets; ++set)
    if (!used[set] &&
        (stripes_freed_ns_[set] == 0 || now_ns - stripes_freed_ns_[set] > kSlotRestNs))
      return set;
  return 0;
}

// Which stripe set the limit is to have: its own, a free one, or none.
std::uint32_t Domain::stripes_for(std::uint32_t index, const LimitRule& rule, double spent_per_s) {
  const std::uint32_t now = minter_->limit(index).stripe_set;
  // What lies on a stripe cannot be taken back, and a lease that is lowered must take it.
  if (rule.scope == LimitScope::cluster) return 0;
  if (is_window(rule.algorithm) && rule.stripes != StripeMode::on) return 0;
  if (rule.stripes == StripeMode::off) return 0;
  if (rule.stripes == StripeMode::automatic && options_.cpus < 2) return 0;
  const std::uint64_t share = rule.burst / kStripeShare / options_.cpus;
  if (share < kStripeTokensMin && rule.stripes != StripeMode::on) return 0;
  if (share == 0) return 0;
  if (now != 0) return now;
  // The set that the limit had under an earlier agent.
  const std::uint32_t kept = ledger_.slot(index).stripe_set;
  if (kept != 0 && kept <= kStripeSets) return kept;
  const bool busy = spent_per_s >= static_cast<double>(kStripeRateMin);
  return rule.stripes == StripeMode::on || busy ? free_stripe_set() : 0;
}

bool Domain::tick() {
  const bool spent = minter_->tick();
  return (toolkit_ && toolkit_->tick(clocks_.mono_ns())) || spent;
}

std::int64_t Domain::next_due_ns() const {
  const std::int64_t due_ns = minter_->next_due_ns();
  return toolkit_ ? std::min(due_ns, toolkit_->next_due_ns()) : due_ns;
}

void Domain::refresh() {
  minter_->refresh_stats();
  bool restripe = false;
  for (const LimitRule& limit : rule_.limits) {
    const std::uint32_t index = slots_.at(limit.name);
    if (limit.calendar != CalendarUnit::none) follow_calendar(index, limit);
    const LimitState& state = minter_->limit(index);
    if (limit.stripes == StripeMode::automatic && state.stripe_set == 0 &&
        stripes_for(index, limit, state.stats.spent_per_s) != 0)
      restripe = true;
  }
  if (restripe) {
    const DomainRule rule = rule_;
    publish(rule);
  }
}

}  // namespace weir::agent
