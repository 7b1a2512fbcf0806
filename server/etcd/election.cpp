#include "server/etcd/election.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "daemon/log/printable.h"

namespace weir::server::etcd {

using lease::TimeNs;

namespace {

constexpr Client::Ms kCallDeadline{1'000};
// A keep-alive that is not answered leaves time for two more at other members.
constexpr Client::Ms kKeepDeadline{400};
constexpr TimeNs kRetryNs = 300 * lease::kMs;
constexpr TimeNs kNameTakenSayNs = 6 * lease::kSecond;
constexpr TimeNs kHandOverGapNs = 20 * lease::kSecond;  // learning takes most of it

TimeNs boot_ns() noexcept {
  struct timespec now {};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<TimeNs>(now.tv_sec) * lease::kSecond + now.tv_nsec;
}

std::uint64_t hash(std::string_view text) noexcept {  // FNV-1a with a finish that spreads
  std::uint64_t value = 0xcbf29ce484222325;
  for (const char c : text)
    value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  value ^= value >> 33;
  value *= 0xff51afd7ed558ccd;
  return value ^ (value >> 33);
}

std::uint64_t to_number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The name on the first line, an address on each further one.
std::string to_value(const std::string& name, const std::vector<std::string>& addresses) {
  std::string value = name;
  for (const std::string& address : addresses)
    value += "\n" + address;
  return value;
}

void from_value(std::string_view value, std::string& name, std::vector<std::string>& addresses) {
  for (bool first = true; !value.empty(); first = false) {
    const std::size_t end = std::min(value.find('\n'), value.size());
    (first ? name : addresses.emplace_back()) = std::string(value.substr(0, end));
    value.remove_prefix(std::min(end + 1, value.size()));
  }
}

bool strip(std::string_view& text, std::string_view prefix) noexcept {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

Election::Election(Client& client, ElectionOptions options, ElectionHandler& handler)
    : client_(client), options_(std::move(options)), handler_(handler) {
  now_ns_ = clock_ns();
}
Election::~Election() = default;

// The instant that a message is sent is read here, not taken from an earlier turn of the loop.
TimeNs Election::clock_ns() const { return options_.boot_ns ? options_.boot_ns() : boot_ns(); }

std::vector<std::string> Election::ranking(const std::string& name_space,
                                           const std::set<std::string>& servers) {
  std::vector<std::string> order(servers.begin(), servers.end());
  const auto weight = [&](const std::string& name) { return hash(name + "\n" + name_space); };
  std::sort(order.begin(), order.end(), [&](const std::string& a, const std::string& b) {
    const std::uint64_t left = weight(a), right = weight(b);
    return left != right ? left > right : a < b;
  });
  return order;
}

std::string Election::key(const char* kind, const std::string& name) const {
  return options_.prefix + "/cluster/" + kind + name;
}

Election::Space* Election::find(const std::string& name_space) {
  const auto found = spaces_.find(name_space);
  return found == spaces_.end() ? nullptr : &found->second;
}

std::string Election::owner_name(const std::string& name_space) const {
  const auto found = spaces_.find(name_space);
  return found == spaces_.end() || !found->second.owner ? std::string{} : found->second.owner->name;
}

std::optional<Fence> Election::fence(const std::string& name_space) const {
  const auto found = spaces_.find(name_space);
  if (found == spaces_.end() || !found->second.term) return std::nullopt;
  return Fence{key("owner/", name_space), found->second.term->revision};
}

void Election::set_namespaces(std::vector<std::string> names) {
  std::set<std::string> wanted(names.begin(), names.end());
  std::erase_if(spaces_, [&](const auto& each) {
    if (wanted.contains(each.first)) return false;
    if (each.second.term) {
      rpc::TxnRequest request;
      require_created(request, key("owner/", each.first), each.second.term->revision);
      add_delete(request, key("owner/", each.first));
      client_.txn(std::move(request), kCallDeadline, [](const Status&, const rpc::TxnResponse&) {});
    }
    return true;
  });
  bool fresh = false;
  for (const std::string& name : wanted) {
    const bool made = spaces_.try_emplace(name).second;
    fresh = fresh || made;
    if (made) spaces_[name].free_since_ns = now_ns_;
  }
  if (fresh && phase_ == Phase::in) list();
}

// ---- our place in the cluster

void Election::fail(const std::string& why) {
  if (stats_.last_error != why) spdlog::warn("etcd: {}", printable(why));
  stats_.last_error = why;
}

void Election::tick(TimeNs now_ns) {
  now_ns_ = now_ns;
  if (resigned_) return;
  if (phase_ == Phase::apart && now_ns >= retry_ns_) join();
  if (lease_ == 0) return;
  if (!keeping_ && now_ns - sent_ns_ >= ttl_ns_ / 4) keep_alive();
  if (phase_ == Phase::joining && now_ns >= retry_ns_) enter();
  if (phase_ != Phase::in) return;
  if (now_ns >= until_ns_) return mute();
  if (!listed_ && !listing_ && now_ns >= retry_ns_) list();
  if (!listed_) return;
  contest();
  rebalance();
}

void Election::join() {
  phase_ = Phase::joining;
  retry_ns_ = lease::kNever;
  const TimeNs sent_ns = clock_ns();
  client_.grant(options_.ttl_s, kCallDeadline,
                guarded([this, sent_ns](const Status& status, std::int64_t id, std::int64_t ttl_s) {
                  if (resigned_) return;
                  if (!status.ok()) {
                    fail("no lease: " + status.text);
                    phase_ = Phase::apart;
                    retry_ns_ = now_ns_ + kRetryNs;
                    return;
                  }
                  lease_ = id;
                  ttl_ns_ = ttl_s * lease::kSecond;
                  sent_ns_ = sent_ns;
                  until_ns_ = sent_ns + lease::shortened(ttl_ns_) - lease::kClockSlackNs;
                  name_taken_since_ns_ = 0;
                  enter();
                }));
}

// Our name is ours alone: the key is created, never taken over.
void Election::enter() {
  retry_ns_ = lease::kNever;
  rpc::TxnRequest request;
  require_created(request, key("server/", options_.name), 0);
  add_put(request, key("server/", options_.name), to_value(options_.name, options_.addresses),
          lease_);
  request.add_failure()->mutable_request_range()->set_key(key("server/", options_.name));
  client_.txn(
      std::move(request), kCallDeadline,
      guarded([this, lease = lease_](const Status& status, const rpc::TxnResponse& response) {
        if (lease != lease_ || phase_ != Phase::joining) return;
        retry_ns_ = now_ns_ + kRetryNs;
        if (!status.ok()) return fail("cannot join: " + status.text);
        if (response.succeeded()) {
          server_revision_ = response.header().revision();
        } else {
          const auto& found = response.responses(0).response_range();
          if (found.kvs_size() == 0) return;
          // Ours, when the answer to an earlier try was lost.
          if (found.kvs(0).lease() != lease_) {
            if (name_taken_since_ns_ == 0) name_taken_since_ns_ = now_ns_;
            if (now_ns_ - name_taken_since_ns_ >= kNameTakenSayNs && !name_taken_said_) {
              name_taken_said_ = true;
              fail("another server goes by the name " + options_.name +
                   "; give this one its own with --name");
            }
            return;
          }
          server_revision_ = found.kvs(0).create_revision();
        }
        phase_ = Phase::in;
        stats_.joined = true;
        stats_.last_error.clear();
        name_taken_said_ = false;
        listed_ = false;
        spdlog::info("etcd: {} joined the cluster at {}", options_.name, client_.endpoint());
        list();
      }));
}

void Election::keep_alive() {
  keeping_ = true;
  const TimeNs sent_ns = clock_ns();
  sent_ns_ = sent_ns;
  client_.keep_alive(
      lease_, kKeepDeadline,
      guarded([this, sent_ns, lease = lease_](const Status& status, std::int64_t ttl_s) {
        if (lease != lease_) return;
        on_kept(sent_ns, status, ttl_s);
      }));
}

void Election::on_kept(TimeNs sent_ns, const Status& status, std::int64_t ttl_s) {
  keeping_ = false;
  if (!status.ok()) {
    sent_ns_ -= ttl_ns_ / 4;  // the next one at once
    return fail("the lease is not kept: " + status.text);
  }
  if (ttl_s <= 0) return lose("the lease has run out");
  ttl_ns_ = std::min(options_.ttl_s, ttl_s) * lease::kSecond;
  until_ns_ = std::max(until_ns_, sent_ns + lease::shortened(ttl_ns_) - lease::kClockSlackNs);
  if (phase_ != Phase::in || until_ns_ <= clock_ns()) return;
  handler_.on_fence(until_ns_);
  if (muted_) resume();
}

// Nobody speaks past the fence. Agents stay for a moment, since a member's death or an election
// among them is over soon; then they are sent away, to find whoever owns their namespace by now.
void Election::mute() {
  if (!muted_) {
    muted_ = true;
    ++stats_.muted_total;
    spdlog::warn("etcd: not heard for {} ms: nothing is granted until it is",
                 (now_ns_ - until_ns_ + ttl_ns_) / lease::kMs);
  }
  if (now_ns_ < until_ns_ + ttl_ns_ / 4) return;
  for (auto& [name, space] : spaces_) {
    if (!space.term || space.silenced) continue;
    space.silenced = true;
    handler_.on_not_ours(name, {}, "the server has lost touch with etcd");
  }
}

void Election::resume() {
  muted_ = false;
  stats_.last_error.clear();
  spdlog::info("etcd: heard again, and the lease lives: nobody else has owned anything meanwhile");
  for (auto& [name, space] : spaces_)
    if (space.term && std::exchange(space.silenced, false)) handler_.on_resumed(name, until_ns_);
  listed_ = false;  // what others did meanwhile
  list();
}

void Election::lose(const std::string& why) {
  spdlog::warn("etcd: {}; {} namespace(s) are not ours any more", why, stats_.owned);
  ++stats_.lost_total;
  const std::int64_t old = std::exchange(lease_, 0);
  if (old != 0) client_.revoke(old, kCallDeadline, nullptr);
  phase_ = Phase::apart;
  retry_ns_ = now_ns_;
  keeping_ = muted_ = listed_ = listing_ = false;
  stats_.joined = false;
  watch_.reset();
  for (auto& [name, space] : spaces_) {
    space.asking = space.silenced = false;
    space.owner.reset();
    if (std::exchange(space.term, std::nullopt)) handler_.on_not_ours(name, {}, why);
  }
  stats_.owned = 0;
}

void Election::resign(std::function<void()> done) {
  resigned_ = true;
  watch_.reset();
  for (auto& [name, space] : spaces_)
    if (std::exchange(space.term, std::nullopt)) handler_.on_not_ours(name, {}, "the server stops");
  const std::int64_t old = std::exchange(lease_, 0);
  if (old == 0) return done();
  client_.revoke(old, kCallDeadline, [done = std::move(done)](const Status&) { done(); });
}

// ---- who is there, and who owns what

void Election::list() {
  if (listing_) return;
  listing_ = true;
  watch_.reset();
  rpc::TxnRequest request;
  add_get_prefix(request, key("server/"));
  add_get_prefix(request, key("owner/"));
  add_get(request, key("epochs"));
  client_.txn(
      std::move(request), kCallDeadline,
      guarded([this, lease = lease_](const Status& status, const rpc::TxnResponse& response) {
        if (lease != lease_) return;
        listing_ = false;
        retry_ns_ = now_ns_ + kRetryNs;
        if (phase_ != Phase::in) return;
        if (!status.ok()) return fail("the cluster cannot be read: " + status.text);
        on_list(response);
      }));
}

void Election::on_list(const rpc::TxnResponse& response) {
  std::set<std::string> servers;
  const std::string server_prefix = key("server/"), owner_prefix = key("owner/");
  for (const rpc::KeyValue& kv : response.responses(0).response_range().kvs())
    servers.insert(kv.key().substr(server_prefix.size()));
  if (servers != servers_) servers_since_ns_ = now_ns_;
  servers_ = std::move(servers);
  stats_.servers = servers_.size();
  std::map<std::string, Owner> owners;
  for (const rpc::KeyValue& kv : response.responses(1).response_range().kvs()) {
    Owner& owner = owners[kv.key().substr(owner_prefix.size())];
    from_value(kv.value(), owner.name, owner.addresses);
    owner.revision = kv.create_revision();
    owner.lease = kv.lease();
  }
  const auto& epochs = response.responses(2).response_range();
  base_ = epochs.kvs_size() == 0 ? 0 : to_number(epochs.kvs(0).value());
  base_version_ = epochs.kvs_size() == 0 ? 0 : epochs.kvs(0).version();
  listed_ = true;
  for (auto& [name, space] : spaces_) {
    const auto owner = owners.find(name);
    set_owner(name, owner == owners.end() ? std::nullopt : std::optional(owner->second));
  }
  watch(response.header().revision() + 1);
}

void Election::watch(std::int64_t from_revision) {
  watch_ =
      client_.watch(key(""), from_revision, guarded([this](const rpc::WatchResponse& response) {
                      for (const rpc::Event& event : response.events())
                        apply(event);
                    }),
                    guarded([this](const std::string& why) {
                      fail("the watch ended: " + why);
                      listed_ = false;
                      retry_ns_ = now_ns_ + kRetryNs;
                    }));
}

void Election::apply(const rpc::Event& event) {
  std::string_view name = event.kv().key();
  const bool gone = event.type() == rpc::Event::DELETE;
  if (strip(name, key("server/"))) {
    const bool changed =
        gone ? servers_.erase(std::string(name)) != 0 : servers_.insert(std::string(name)).second;
    if (changed) servers_since_ns_ = now_ns_;
    stats_.servers = servers_.size();
  } else if (strip(name, key("owner/"))) {
    if (gone) return set_owner(std::string(name), std::nullopt);
    Owner owner;
    from_value(event.kv().value(), owner.name, owner.addresses);
    owner.revision = event.kv().create_revision();
    owner.lease = event.kv().lease();
    set_owner(std::string(name), std::move(owner));
  } else if (name == key("epochs") && !gone) {
    base_ = to_number(event.kv().value());
    base_version_ = event.kv().version();
  }
}

void Election::set_owner(const std::string& name_space, std::optional<Owner> owner) {
  Space* space = find(name_space);
  if (space == nullptr) return;
  const bool was_free = !space->owner;
  space->owner = std::move(owner);
  if (!space->owner && !was_free) space->free_since_ns = now_ns_;
  const bool ours = space->owner && space->owner->lease == lease_ && lease_ != 0;
  if (ours && space->term && space->term->revision == space->owner->revision) return;
  if (space->term) {  // taken from us by hand, or in a way that we do not know of
    space->term.reset();
    space->silenced = false;
    --stats_.owned;
    spdlog::warn("namespace {}: its owner's key is not ours any more", name_space);
  } else if (ours) {
    if (!space->asking) adopt(name_space, space->owner->revision);
    return;
  }
  tell_not_ours(name_space, *space);
}

void Election::tell_not_ours(const std::string& name_space, const Space& space) {
  if (space.owner)
    handler_.on_not_ours(name_space, space.owner->addresses, space.owner->name + " owns it");
  else
    handler_.on_not_ours(name_space, {}, "nobody owns it at the moment");
}

// ---- becoming the owner

void Election::contest() {
  for (auto& [name, space] : spaces_) {
    if (space.owner || space.term || space.asking || now_ns_ < space.retry_ns) continue;
    const std::vector<std::string> order = ranking(name, servers_);
    const auto place = std::find(order.begin(), order.end(), options_.name) - order.begin();
    if (now_ns_ - space.free_since_ns < place * options_.rank_step_ns) continue;
    claim(name, space);
  }
}

void Election::claim(const std::string& name_space, Space& space) {
  space.asking = true;
  rpc::TxnRequest request;
  require_created(request, key("owner/", name_space), 0);
  require_created(request, key("server/", options_.name), server_revision_);
  add_put(request, key("owner/", name_space), to_value(options_.name, options_.addresses), lease_);
  add_get(request, key("epochs"));
  add_get(request, key("met/", name_space));  // as it was before
  add_put(request, key("met/", name_space), options_.name);
  client_.txn(std::move(request), kCallDeadline,
              guarded([this, name_space, lease = lease_](const Status& status,
                                                         const rpc::TxnResponse& response) {
                on_claimed(name_space, lease, status, response);
              }));
}

void Election::on_claimed(const std::string& name_space, std::int64_t lease, const Status& status,
                          const rpc::TxnResponse& response) {
  Space* space = find(name_space);
  if (space == nullptr || lease != lease_ || resigned_) return;
  space->asking = false;
  space->retry_ns = now_ns_ + kRetryNs;
  // What is not known is told by the watch, or by the next try.
  if (!status.ok()) return fail("namespace " + name_space + " cannot be claimed: " + status.text);
  if (!response.succeeded()) {
    // Another one was faster, and the watch says who; or it is an earlier try of ours.
    if (space->owner && space->owner->lease == lease_) adopt(name_space, space->owner->revision);
    return;
  }
  const auto& epochs = response.responses(1).response_range();
  const std::uint64_t base = epochs.kvs_size() == 0 ? 0 : to_number(epochs.kvs(0).value());
  Term term;
  term.revision = response.header().revision();
  term.epoch = base + static_cast<std::uint64_t>(term.revision);
  term.never_met = response.responses(2).response_range().kvs_size() == 0;
  begin_term(name_space, term);
}

// The key is ours, but the answer that said so was lost.
void Election::adopt(const std::string& name_space, std::int64_t revision) {
  Space* space = find(name_space);
  if (space == nullptr || space->asking || space->term) return;
  space->asking = true;
  rpc::TxnRequest request;
  require_created(request, key("owner/", name_space), revision);
  add_get(request, key("epochs"));
  client_.txn(std::move(request), kCallDeadline,
              guarded([this, name_space, revision, lease = lease_](
                          const Status& status, const rpc::TxnResponse& response) {
                Space* found = find(name_space);
                if (found == nullptr || lease != lease_ || resigned_) return;
                found->asking = false;
                if (!status.ok()) listed_ = false;  // then it is seen again
                if (!status.ok() || !response.succeeded()) return;
                const auto& epochs = response.responses(0).response_range();
                Term term;
                term.revision = revision;
                term.epoch = static_cast<std::uint64_t>(revision) +
                             (epochs.kvs_size() == 0 ? 0 : to_number(epochs.kvs(0).value()));
                begin_term(name_space, term);
              }));
}

void Election::begin_term(const std::string& name_space, const Term& term) {
  Space& space = *find(name_space);
  if (!space.owner) space.owner = Owner{options_.name, options_.addresses, term.revision, lease_};
  space.term = term;
  ++stats_.owned;
  ++stats_.terms_total;
  spdlog::info("namespace {}: ours from now on, epoch {}", name_space, term.epoch);
  handler_.on_owned(name_space, term, until_ns_);
}

// An epoch must be above every one that agents have met, wherever those came from.
void Election::raise_epoch(const std::string& name_space, std::uint64_t seen) {
  Space* space = find(name_space);
  if (space == nullptr || !space->term || raising_ || seen <= space->term->epoch || seen <= base_)
    return;
  raising_ = true;
  rpc::TxnRequest request;
  require_created(request, key("owner/", name_space), space->term->revision);
  require_version(request, key("epochs"), base_version_);
  add_put(request, key("epochs"), std::to_string(seen));
  client_.txn(
      std::move(request), kCallDeadline,
      guarded([this, name_space, seen](const Status& status, const rpc::TxnResponse& response) {
        raising_ = false;
        Space* found = find(name_space);
        if (!status.ok() || !response.succeeded() || found == nullptr || !found->term) return;
        base_ = seen;
        ++base_version_;
        found->term->epoch = seen + static_cast<std::uint64_t>(found->term->revision);
        handler_.on_epoch(name_space, found->term->epoch);
      }));
}

// One namespace at a time goes to whom it belongs, and only when nobody has come or gone for long.
void Election::rebalance() {
  if (options_.rebalance_ns == 0 || now_ns_ - servers_since_ns_ < options_.rebalance_ns ||
      now_ns_ - handed_over_ns_ < kHandOverGapNs)
    return;
  for (auto& [name, space] : spaces_) {
    if (!space.term || ranking(name, servers_).front() == options_.name) continue;
    handed_over_ns_ = now_ns_;
    const Term term = *std::exchange(space.term, std::nullopt);
    --stats_.owned;
    spdlog::info("namespace {}: handed over to {}", name, ranking(name, servers_).front());
    handler_.on_not_ours(name, {}, "handed over");
    rpc::TxnRequest request;
    require_created(request, key("owner/", name), term.revision);
    add_delete(request, key("owner/", name));
    client_.txn(std::move(request), kCallDeadline,
                guarded([this](const Status& status, const rpc::TxnResponse&) {
                  // Still ours, perhaps: what is read anew says so, and it is taken up again.
                  if (!status.ok()) listed_ = false;
                }));
    return;
  }
}

}  // namespace weir::server::etcd
