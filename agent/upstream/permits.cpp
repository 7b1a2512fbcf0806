#include "agent/upstream/permits.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "agent/upstream/saved_permits.h"
#include "agent/upstream/whole_file.h"
#include "rules/file.h"

namespace weir::agent {

namespace {

constexpr std::size_t kPermitsFileBytesMax = 1U << 20;

lease::PermitFallback fallback_of(shm::Fallback mode) noexcept {
  if (mode == shm::Fallback::open) return lease::PermitFallback::open;
  return mode == shm::Fallback::closed ? lease::PermitFallback::closed
                                       : lease::PermitFallback::local;
}

lease::PermitDeskOptions desk_options(const PermitsOptions& options, std::int64_t now_ns) {
  lease::PermitDeskOptions desk;
  desk.started_ns = now_ns;
  desk.patience_ns = options.patience_ns;
  desk.ttl_ns = options.ttl_ns;
  return desk;
}

}  // namespace

Permits::Permits(PermitsOptions options, Clock boot_ns, Say say)
    : options_(std::move(options)),
      boot_ns_(std::move(boot_ns)),
      say_(std::move(say)),
      desk_(desk_options(options_, boot_ns_())),
      started_ns_(boot_ns_()) {}

void Permits::restore(std::uint64_t counters_id, bool adopted) {
  counters_id_ = counters_id;
  if (!adopted) return;
  // Clients of before count in the same words, and go by what that agent told them.
  holding_ = true;
  desk_.hold_confirmations(true);
  std::optional<SavedPermits> saved;
  if (!options_.file.empty())
    saved = parse_saved_permits(read_file(options_.file, kPermitsFileBytesMax).text);
  if (saved && saved->boot_id == options_.boot_id && saved->counters_id == counters_id)
    desk_.restore(saved->desk);
  else
    desk_.restore_unknown();
}

void Permits::bind(Domain& domain) {
  toolkit_ = domain.toolkit();
  std::map<std::string, Shared, std::less<>> next;
  std::vector<lease::PermitResource> resources;
  if (toolkit_ != nullptr) {
    for (const auto& each : toolkit_->resources()) {
      const ConcurrencyConfig& config = each->config().concurrency;
      if (!config.present || !config.cluster) continue;
      resources.push_back(
          {each->name(), static_cast<lease::Permits>(config.max), fallback_of(config.fallback)});
      const auto kept = shared_.find(each->name());
      Shared shared{each.get(), each->totals().full};
      if (kept != shared_.end()) shared.full_total = kept->second.full_total;
      next.emplace(each->name(), shared);
    }
  }
  shared_ = std::move(next);
  desk_.set_resources(resources, boot_ns_());
  apply();
}

// ------------------------------------------------------------------ waking

void Permits::tick(std::int64_t heard_ns) {
  const std::int64_t now_ns = boot_ns_();
  desk_.heard(heard_ns);
  if (holding_) settle_old_rules(now_ns);
  observe();
  desk_.tick(now_ns);
  apply();
  talk(now_ns);
}

std::int64_t Permits::due_in_ns() const {
  const std::int64_t now_ns = boot_ns_();
  const std::int64_t in_ns = std::max<std::int64_t>(0, desk_.next_deadline(now_ns) - now_ns);
  return holding_ ? std::min(in_ns, kPermitsSettleNs / 10) : in_ns;
}

void Permits::settle_old_rules(std::int64_t now_ns) {
  if (now_ns - started_ns_ < kPermitsSettleNs) return;
  if (toolkit_ != nullptr && !toolkit_->all_announced()) return;
  holding_ = false;
  desk_.hold_confirmations(false);
}

void Permits::observe() {
  for (auto& [name, shared] : shared_) {
    const std::uint64_t full = shared.resource->totals().full;
    const std::uint64_t refused = full > shared.full_total ? full - shared.full_total : 0;
    shared.full_total = full;
    desk_.observe(name, static_cast<lease::Permits>(shared.resource->in_flight()),
                  static_cast<lease::Permits>(std::min<std::uint64_t>(refused, shm::kPermitsMax)));
  }
}

void Permits::apply() {
  const auto changes = desk_.changes();
  if (changes.empty()) return;
  save();
  for (const lease::PermitDesk::Change& change : changes) {
    const auto shared = shared_.find(change.name);
    if (shared == shared_.end()) continue;
    Resource& resource = *shared->second.resource;
    resource.set_permits(static_cast<std::uint64_t>(change.cap));
    // After the cap is there: who enters from here on has seen it.
    desk_.applied(change.name, static_cast<lease::Permits>(resource.in_flight()));
  }
}

void Permits::talk(std::int64_t now_ns) {
  const lease::PermitReport* report = desk_.next_report(now_ns);
  if (report == nullptr) return;
  save();
  say_(*report);
}

void Permits::save() {
  if (options_.file.empty()) return;
  std::string text = to_text({options_.boot_id, counters_id_, desk_.state()});
  if (text == saved_) return;
  const std::string failed = write_or_remove_file(options_.file, text);
  if (!failed.empty() && !save_failed_)
    spdlog::warn("{}; an agent that follows this one starts without its permits", failed);
  save_failed_ = !failed.empty();
  saved_ = failed.empty() ? std::move(text) : std::string();
}

void Permits::leave() {
  const std::int64_t now_ns = boot_ns_();
  desk_.leave(now_ns);
  apply();
  const auto last = desk_.last_report(now_ns);
  save();
  if (last) say_(*last);
}

// ------------------------------------------------------------------ the connection

void Permits::on_welcome(lease::SessionId session, bool speaks, std::int64_t heard_ns) {
  const std::int64_t now_ns = boot_ns_();
  desk_.heard(heard_ns);
  desk_.opened(session, speaks, now_ns);
  if (!speaks && !shared_.empty())
    spdlog::warn(
        "the token server knows nothing of concurrency limits; those of the cluster go by their "
        "fallback rules");
  observe();
  apply();
  talk(now_ns);
}

void Permits::on_grants(const lease::PermitGrants& grants, std::int64_t heard_ns) {
  const std::int64_t now_ns = boot_ns_();
  desk_.heard(heard_ns);
  desk_.on_grants(grants, now_ns);
  apply();
  talk(now_ns);
}

void Permits::on_closed(std::int64_t heard_ns) {
  desk_.heard(heard_ns);
  desk_.closed(boot_ns_());
  apply();
}

}  // namespace weir::agent
