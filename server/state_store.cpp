#include "server/state_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "net/secret.h"
#include "server/disk.h"

namespace weir::server {

using Clock = std::chrono::steady_clock;

namespace {

constexpr char kEpochName[] = "epoch";
constexpr char kKeyName[] = "key";
constexpr char kIdentitiesName[] = "identities";
constexpr char kLockName[] = "lock";
constexpr std::size_t kSmallBytesMax = 4096;
// The log is written anew when it has so many records that say nothing any more.
constexpr std::size_t kDeadRecordsMin = 1024;

// One thing to write. A whole file comes first, then what is added, then the epoch.
struct Job {
  bool drop = false;  // take the identities away
  std::string whole;
  std::string more;
  std::uint64_t epoch = 0;

  bool empty() const noexcept { return !drop && whole.empty() && more.empty() && epoch == 0; }
};

std::uint64_t random_number() noexcept {
  std::array<unsigned char, 8> bytes{};
  std::uint64_t number = 0;
  if (!net::random_bytes(bytes)) return 1;
  for (const unsigned char byte : bytes)
    number = number << 8 | byte;
  return number;
}

}  // namespace

class StateStore::Impl : public std::enable_shared_from_this<StateStore::Impl> {
 public:
  Impl(boost::asio::io_context& io, StateOptions options) : io_(io), options_(std::move(options)) {}

  StateLoaded open();
  void start_thread() {
    thread_ = std::thread([this] { write_jobs(); });
  }
  void stop_thread() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void remember(const std::string& name_space, const Identity& identity) {
    if (!known_[name_space].identities.insert(identity).second) return;
    append_met(pending_.more, name_space, identity);
    ++records_;
    ++live_;
  }
  void forget(const std::string& name_space, const Identity& identity) {
    if (known_[name_space].identities.erase(identity) == 0) return;
    append_forgotten(pending_.more, name_space, identity);
    ++records_;
    --live_;
  }
  void set_whole(const std::string& name_space, bool whole) {
    const auto [at, fresh] = known_.try_emplace(name_space);
    if (std::exchange(at->second.whole, whole) == whole && !fresh) return;
    append_whole(pending_.more, name_space, whole);
    ++records_;
  }
  void raise_epoch(std::uint64_t epoch) {
    if (epoch <= epoch_) return;
    epoch_ = pending_.epoch = epoch;
  }
  void commit(Done done);
  void poll();
  bool idle() const noexcept { return !in_flight_ && waiting_.empty(); }

  StateStats stats;

 private:
  void read_epoch_file(StateLoaded& loaded);
  void read_key_file(StateLoaded& loaded);
  void read_identities_file(StateLoaded& loaded);
  void start_writing();
  void hand_over(Job job);
  void finished(const std::string& error, std::uint64_t file_bytes);
  void tell(std::vector<Done> whom, bool durable);
  void degrade(const std::string& why);

  // The writer's side.
  void write_jobs();
  std::string write(const Job& job);

  boost::asio::io_context& io_;
  StateOptions options_;
  OwnFd dir_;
  OwnFd lock_;

  Known known_;
  std::size_t records_ = 0;  // in the file and on their way to it
  std::size_t live_ = 0;     // identities
  Job pending_;
  std::vector<Done> waiting_;  // for the next job
  std::vector<Done> in_flight_done_;
  bool in_flight_ = false;
  bool posted_ = false;
  bool gave_up_ = false;    // on the job that is in flight
  bool dropping_ = false;   // that job takes the identities away
  bool want_drop_ = false;  // the next one will
  std::uint64_t epoch_ = 0;
  Clock::time_point started_;
  Clock::time_point retry_at_;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Job job_;  // guarded by mutex_
  bool has_job_ = false;
  bool stopping_ = false;
  OwnFd log_;  // the writer's own from here on
  std::uint64_t log_bytes_ = 0;
};

StateLoaded StateStore::Impl::open() {
  StateLoaded loaded;
  const auto note = [&](const std::string& text) { loaded.notes.push_back(text); };
  const auto from_memory = [&](const std::string& why) {
    stats.degraded = true;
    stats.last_error = why;
    retry_at_ = Clock::now() + options_.retry;
    note(options_.dir + ": " + why + "; the server goes on, and keeps nothing");
    if (dir_) ::unlinkat(dir_.get(), kIdentitiesName, 0);
  };
  (void)net::random_bytes(loaded.key);
  // Where nothing is known of earlier starts: probably far from what any of them used.
  epoch_ = loaded.epoch = 1 + (random_number() >> 33);
  stats.kept = !options_.dir.empty();
  if (!stats.kept) return loaded;
  if (const std::string error = open_directory(options_.dir, dir_); !error.empty()) {
    from_memory(error);
    return loaded;
  }
  bool held = false;
  if (const std::string error = lock_file(dir_.get(), kLockName, lock_, held); held) {
    loaded.error = options_.dir + " is in use by another weir-server";
    return loaded;
  } else if (!error.empty()) {
    note(options_.dir + ": " + error);
  }
  read_epoch_file(loaded);
  read_key_file(loaded);
  read_identities_file(loaded);
  if (const std::string error = replace_file(dir_.get(), kEpochName, epoch_file(loaded.epoch));
      !error.empty()) {
    loaded.epoch += random_number() >> 33;
    from_memory(error);
  }
  epoch_ = loaded.epoch;
  return loaded;
}

void StateStore::Impl::read_epoch_file(StateLoaded& loaded) {
  std::string text;
  bool missing = false;
  const std::string error = read_whole(dir_.get(), kEpochName, kSmallBytesMax, text, missing);
  const std::uint64_t before = error.empty() && !missing ? read_epoch(text) : 0;
  loaded.fresh = missing;
  if (before != 0) {
    loaded.epoch = before + 1;
    return;
  }
  // The random one stays: an earlier state may be lost, and no epoch is used twice. Agents tell
  // which ones they have seen, and ours is raised above those.
  if (!missing) {
    loaded.notes.push_back(options_.dir + "/epoch: " + (error.empty() ? "it is damaged" : error) +
                           "; the epoch starts anywhere");
  }
}

void StateStore::Impl::read_key_file(StateLoaded& loaded) {
  std::string text;
  bool missing = false;
  const std::string error = read_whole(dir_.get(), kKeyName, kSmallBytesMax, text, missing);
  if (error.empty() && text.size() == loaded.key.size()) {
    std::copy(text.begin(), text.end(), loaded.key.begin());
    return;
  }
  if (!missing) {
    loaded.notes.push_back(options_.dir + "/key: " + (error.empty() ? "it is damaged" : error) +
                           "; a new one is made, and hosts lose what they hold for a moment");
  }
  const std::string_view key{reinterpret_cast<const char*>(loaded.key.data()), loaded.key.size()};
  if (const std::string failed = replace_file(dir_.get(), kKeyName, key); !failed.empty())
    loaded.notes.push_back(options_.dir + ": " + failed);
}

void StateStore::Impl::read_identities_file(StateLoaded& loaded) {
  std::string bytes;
  bool missing = false;
  std::string error = read_whole(dir_.get(), kIdentitiesName, kIdentitiesBytesMax, bytes, missing);
  loaded.fresh = loaded.fresh && missing;
  if (error.empty() && !missing) {
    IdentitiesRead read = read_identities(bytes);
    loaded.known = std::move(read.known);
    error = read.damage;
  }
  if (!error.empty()) {
    for (auto& [name_space, hosts] : loaded.known)
      hosts.whole = false;
    loaded.notes.push_back(options_.dir + "/identities: " + error +
                           "; the server learns for its full time");
  }
  loaded.intact = error.empty() && (!missing || loaded.fresh);
  known_ = loaded.known;
  for (const auto& [name_space, hosts] : known_)
    live_ += hosts.identities.size();
  records_ = live_ + known_.size();
  // A file of its own for each start: what is damaged or dead goes.
  pending_.whole = identities_file(known_);
}

void StateStore::Impl::commit(Done done) {
  waiting_.push_back(std::move(done));
  if (posted_) return;
  posted_ = true;
  boost::asio::post(io_, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->posted_ = false;
    self->start_writing();
  });
}

void StateStore::Impl::start_writing() {
  if (in_flight_) return;
  if (!stats.kept || pending_.empty()) {
    tell(std::exchange(waiting_, {}), true);
    return;
  }
  if (stats.degraded) {
    tell(std::exchange(waiting_, {}), false);
    return;
  }
  if (records_ > 2 * live_ + kDeadRecordsMin && pending_.whole.empty()) {
    pending_.whole = identities_file(known_);
    records_ = live_ + known_.size();
  }
  // A whole file holds what was to be added.
  if (!pending_.whole.empty()) {
    pending_.whole = identities_file(known_);
    pending_.more.clear();
  }
  hand_over(std::exchange(pending_, {}));
}

void StateStore::Impl::hand_over(Job job) {
  in_flight_ = true;
  gave_up_ = false;
  dropping_ = job.drop;
  started_ = Clock::now();
  in_flight_done_ = std::exchange(waiting_, {});
  {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
    has_job_ = true;
  }
  wake_.notify_all();
}

void StateStore::Impl::finished(const std::string& error, std::uint64_t file_bytes) {
  in_flight_ = false;
  stats.file_bytes = file_bytes;
  stats.commit_time =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started_);
  // When it was given up on, some were welcomed meanwhile whom the file does not know.
  const bool good = error.empty() && !gave_up_ && !dropping_;
  if (good) {
    ++stats.commits_total;
    stats.degraded = false;
  } else if (!dropping_) {
    degrade(error.empty() ? stats.last_error : error);
  }
  tell(std::exchange(in_flight_done_, {}), good);
  if (want_drop_ && dir_) {
    want_drop_ = false;
    Job job;
    job.drop = true;
    hand_over(std::move(job));
  } else if (!waiting_.empty()) {
    start_writing();
  }
}

void StateStore::Impl::degrade(const std::string& why) {
  ++stats.failures_total;
  stats.last_error = why;
  stats.degraded = true;
  want_drop_ = true;
  retry_at_ = Clock::now() + options_.retry;
}

void StateStore::Impl::poll() {
  const auto now = Clock::now();
  if (in_flight_ && !gave_up_ && now - started_ > options_.patience) {
    gave_up_ = true;
    stats.degraded = true;
    stats.last_error = "the disk does not answer";
    tell(std::exchange(in_flight_done_, {}), false);
  }
  if (in_flight_ && gave_up_) tell(std::exchange(waiting_, {}), false);
  if (!stats.degraded || in_flight_ || now < retry_at_ || !stats.kept) return;
  retry_at_ = now + options_.retry;
  bool held = false;
  if (!dir_ && (!open_directory(options_.dir, dir_).empty() ||
                !lock_file(dir_.get(), kLockName, lock_, held).empty())) {
    dir_.reset();
    return;
  }
  pending_ = {};
  records_ = live_ + known_.size();
  Job job;
  job.whole = identities_file(known_);
  job.epoch = epoch_;
  hand_over(std::move(job));
}

void StateStore::Impl::tell(std::vector<Done> whom, bool durable) {
  for (Done& done : whom)
    if (done) done(durable);
}

void StateStore::Impl::write_jobs() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return has_job_ || stopping_; });
    if (!has_job_) return;
    const Job job = std::exchange(job_, {});
    has_job_ = false;
    lock.unlock();
    std::string error = write(job);
    boost::asio::post(io_, [weak = weak_from_this(), error = std::move(error), bytes = log_bytes_] {
      if (const auto self = weak.lock()) self->finished(error, bytes);
    });
    lock.lock();
  }
}

std::string StateStore::Impl::write(const Job& job) {
  if (job.drop) {
    log_.reset();
    log_bytes_ = 0;
    // What is not there any more cannot be believed. Where even this fails, nothing is left to do.
    ::unlinkat(dir_.get(), kIdentitiesName, 0);
    return {};
  }
  if (job.epoch != 0) {
    const std::string error = replace_file(dir_.get(), kEpochName, epoch_file(job.epoch));
    if (!error.empty()) return error;
  }
  if (!job.whole.empty()) {
    log_.reset();
    std::string error = replace_file(dir_.get(), kIdentitiesName, job.whole);
    if (error.empty()) error = open_append(dir_.get(), kIdentitiesName, log_);
    if (!error.empty()) return error;
    log_bytes_ = job.whole.size();
  }
  if (job.more.empty()) return {};
  if (!log_) return "identities: not open";
  std::string error = append_file(log_.get(), job.more);
  if (!error.empty()) return "identities: " + error;
  log_bytes_ += job.more.size();
  return {};
}

StateStore::StateStore(boost::asio::io_context& io, StateOptions options)
    : impl_(std::make_shared<Impl>(io, std::move(options))) {}
StateStore::~StateStore() { impl_->stop_thread(); }
StateLoaded StateStore::open() {
  StateLoaded loaded = impl_->open();
  if (loaded.error.empty() && impl_->stats.kept) impl_->start_thread();
  return loaded;
}
void StateStore::remember(const std::string& name_space, const Identity& identity) {
  impl_->remember(name_space, identity);
}
void StateStore::forget(const std::string& name_space, const Identity& identity) {
  impl_->forget(name_space, identity);
}
void StateStore::set_whole(const std::string& name_space, bool whole) {
  impl_->set_whole(name_space, whole);
}
void StateStore::raise_epoch(std::uint64_t epoch) { impl_->raise_epoch(epoch); }
void StateStore::commit(Done done) { impl_->commit(std::move(done)); }
void StateStore::poll() { impl_->poll(); }
bool StateStore::idle() const noexcept { return impl_->idle(); }
const StateStats& StateStore::stats() const noexcept { return impl_->stats; }

}  // namespace weir::server
