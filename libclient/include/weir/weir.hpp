// weir/weir.hpp: rate limits shared by all processes of a host. C++20 over weir.h, header-only.
//
//     weir::Client client = weir::Client::open();
//     weir::Limit orders = client.limit("/api/order", weir::local(100, 1s));
//     if (orders.try_acquire()) handle_it();
//
// Everything here is thread-safe unless it says otherwise, and does what the C function of the
// same name does; weir.h has the last word. What is said of a function beyond that:
//   [hot]    never blocks, allocates, logs, takes a lock or touches errno; async-signal-safe;
//            may be called in a child after fork().
//   [setup]  may allocate and make system calls; not for signal handlers.
//
// Lifetimes: a Limit, a Permit and a Wait are plain handles into their Client, which must outlive
// them; moving the Client keeps them valid. An empty handle refuses everything.
//
// Times are std::chrono durations. A negative timeout is zero; one beyond about 290 years, such as
// kForever, never ends. A number of tokens is 1..2^32-1; anything else is refused as invalid.
//
// Without exceptions (-fno-exceptions) the functions that throw do not exist; each has a twin
// try_... that returns a Result.
#ifndef WEIR_WEIR_HPP
#define WEIR_WEIR_HPP

#if !defined(__cplusplus) || __cplusplus < 202002L
#error "weir/weir.hpp needs C++20; weir/weir.h serves C99 and every older C++"
#endif

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>
#include <variant>

#include "weir/weir.h"

#ifndef WEIR_HAS_EXCEPTIONS
#ifdef __cpp_exceptions
#define WEIR_HAS_EXCEPTIONS 1
#else
#define WEIR_HAS_EXCEPTIONS 0
#endif
#endif

namespace weir {

// As a timeout: wait however long it takes. As an answer: it cannot be known, or never.
inline constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

// What a call came to: a decision (>= 0) or an error (< 0), one of the WEIR_... constants.
class Status {
 public:
  constexpr Status() noexcept = default;
  constexpr explicit Status(weir_status code) noexcept : code_(code) {}
  constexpr weir_status code() const noexcept { return code_; }
  constexpr bool ok() const noexcept { return code_ == WEIR_OK; }
  constexpr bool is_error() const noexcept { return code_ < 0; }
  // Static text, never null. [hot]
  const char* message() const noexcept { return weir_strerror(code_); }
  friend constexpr bool operator==(Status, Status) noexcept = default;
  friend constexpr bool operator==(Status status, weir_status code) noexcept {
    return status.code_ == code;
  }

 private:
  weir_status code_ = WEIR_OK;
};

// What the throwing functions throw.
class Error : public std::exception {
 public:
  explicit Error(Status status) noexcept : status_(status) {}
  Status status() const noexcept { return status_; }
  const char* what() const noexcept override { return status_.message(); }

 private:
  Status status_;
};

// A value, or why there is none. value() and operator* need the value to be there.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) noexcept : value_(std::in_place_index<0>, std::move(value)) {}
  Result(Status error) noexcept : value_(std::in_place_index<1>, error) {}
  explicit operator bool() const noexcept { return value_.index() == 0; }
  bool has_value() const noexcept { return value_.index() == 0; }
  T& operator*() & noexcept { return *std::get_if<0>(&value_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&value_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&value_)); }
  T* operator->() noexcept { return std::get_if<0>(&value_); }
  const T* operator->() const noexcept { return std::get_if<0>(&value_); }
  // WEIR_OK when there is a value.
  Status status() const noexcept { return has_value() ? Status() : *std::get_if<1>(&value_); }

 private:
  std::variant<T, Status> value_;
};

// Whose call it is. A limit's rule may keep a share of its bucket from the lower classes.
enum class Priority : std::int32_t {
  critical_plus = WEIR_CRITICAL_PLUS,
  critical = WEIR_CRITICAL,  // the default
  sheddable_plus = WEIR_SHEDDABLE_PLUS,
  sheddable = WEIR_SHEDDABLE,
};

// The same call, tried again after a refusal. Hosts share a cluster's limit by what they spend and
// what they refuse the first time, so retries that say so take no share from others.
//     if (!limit.try_acquire(1, weir::as_retry())) ...
constexpr Priority as_retry(Priority priority = Priority::critical) noexcept {
  return static_cast<Priority>(static_cast<std::int32_t>(priority) | WEIR_RETRY);
}

// What a limit does while no agent knows it.
enum class Mode : std::int32_t {
  by_amount = WEIR_MODE_DEFAULT,  // local when an amount is given, else open
  local = WEIR_MODE_LOCAL,
  open = WEIR_MODE_OPEN,
  closed = WEIR_MODE_CLOSED,
};

enum class Algorithm : std::int32_t {
  none = 0,
  token_bucket = 1,
  leaky_bucket = 2,
  fixed_window = 3,
  sliding_window = 4,
};

// The strings are borrowed for the call of open() alone. All members are trivial, so a temporary
// of this type is safe in a co_await expression of every compiler.
struct Options {
  const char* socket_path = nullptr;  // null: $WEIR_SOCKET, then /run/weir/agent.sock
  const char* label = nullptr;        // shown by `weir clients`; null: the program's name
  std::chrono::milliseconds connect_timeout{0};  // 0: 200 ms; at most 2^32-1 ms
  bool require_agent = false;  // true: opening fails with WEIR_E_NO_AGENT without one
};

struct LimitOptions {
  Mode mode = Mode::by_amount;
  std::uint64_t amount = 0;  // tokens in each period; mode local needs at least 1
  std::chrono::nanoseconds period = std::chrono::seconds(1);
  std::uint64_t burst = 0;  // most tokens at once, up to 2^40; 0: amount
};

// A bucket of this process, for while no agent knows the limit.
constexpr LimitOptions local(std::uint64_t amount,
                             std::chrono::nanoseconds period = std::chrono::seconds(1),
                             std::uint64_t burst = 0) noexcept {
  return {Mode::local, amount, period, burst};
}
constexpr LimitOptions open() noexcept { return {Mode::open, 0, std::chrono::seconds(1), 0}; }
constexpr LimitOptions closed() noexcept { return {Mode::closed, 0, std::chrono::seconds(1), 0}; }

// What a call that may wait came to.
struct [[nodiscard]] Acquired {
  bool ok = false;  // the tokens are the caller's
  // ok: how long the call waited. Refused at once: how long it would have had to wait, kForever
  // when that cannot be known. Refused at its deadline: how long it waited.
  std::chrono::nanoseconds waited_or_would_wait{0};
  Status status{WEIR_DENY};  // WEIR_ALLOW, WEIR_DENY, WEIR_E_INVALID or WEIR_E_TOO_LARGE

  constexpr explicit operator bool() const noexcept { return ok; }
};

// A limit as it is now.
struct LimitInfo {
  bool shared = false;       // the host's bucket, not one of this process
  bool agent_alive = false;  // the agent's heartbeat is fresh
  Algorithm algorithm = Algorithm::none;
  std::int64_t tokens = 0;   // that can be taken now
  std::uint64_t amount = 0;  // the rule in force: tokens in each period
  std::chrono::nanoseconds period{0};
  std::uint64_t burst = 0;
  std::uint64_t refused_total = 0;  // of the whole host since the counters were made
  std::uint64_t owed = 0;           // tokens that queued waiters are owed
};

namespace detail {

// Rounded up, saturating on both sides. Floating point decides near the edge only; NaN is zero.
template <class Rep, class Period>
constexpr std::uint64_t to_ns(std::chrono::duration<Rep, Period> time) noexcept {
  using Seconds = std::chrono::duration<long double>;
  if (!(time > time.zero())) return 0;
  if (std::chrono::duration_cast<Seconds>(time) >= Seconds(9.2e9L)) return UINT64_MAX;
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::nanoseconds>(time).count());
}

constexpr std::chrono::nanoseconds from_ns(std::uint64_t ns) noexcept {
  return ns > static_cast<std::uint64_t>(INT64_MAX)
             ? kForever
             : std::chrono::nanoseconds(static_cast<std::int64_t>(ns));
}

constexpr Acquired to_acquired(weir_status status, std::uint64_t wait_ns) noexcept {
  Acquired acquired;
  acquired.ok = status == WEIR_ALLOW;
  acquired.waited_or_would_wait = from_ns(wait_ns);
  acquired.status = Status(status);
  return acquired;
}

}  // namespace detail

// Tokens that admit() took for one piece of work, or the refusal. It belongs to one thread at a
// time. The destructor gives nothing back: what was admitted counts, unless refund() says that the
// work did not happen.
class [[nodiscard]] Permit {
 public:
  // Refused.
  constexpr Permit() noexcept = default;
  Permit(Permit&& other) noexcept
      : limit_(other.limit_),
        tokens_(std::exchange(other.tokens_, 0)),
        status_(std::exchange(other.status_, Status(WEIR_DENY))) {}
  Permit& operator=(Permit&& other) noexcept {
    limit_ = other.limit_;
    // In this order a permit that is moved into itself stays what it was.
    const std::uint32_t tokens = std::exchange(other.tokens_, 0);
    const Status status = std::exchange(other.status_, Status(WEIR_DENY));
    tokens_ = tokens;
    status_ = status;
    return *this;
  }
  Permit(const Permit&) = delete;
  Permit& operator=(const Permit&) = delete;
  ~Permit() = default;

  // Whether the work may go on. It stays true after a refund of all tokens. [hot]
  explicit operator bool() const noexcept { return status_.ok(); }
  Status status() const noexcept { return status_; }
  // How many tokens it still holds: 0 when refused, moved from or refunded.
  std::uint32_t tokens() const noexcept { return tokens_; }

  // Gives all tokens back, once. WEIR_OK, also when there is nothing to give. [hot]
  Status refund() noexcept { return refund(tokens_); }
  // Gives back some of them. WEIR_E_INVALID, and nothing given, when n is more than it holds. [hot]
  Status refund(std::uint32_t n) noexcept {
    if (n > tokens_) return Status(WEIR_E_INVALID);
    if (n == 0) return Status();
    tokens_ -= n;
    return Status(weir_refund(limit_, n));
  }

 private:
  friend class Limit;
  Permit(weir_limit* limit, std::uint32_t tokens, weir_status status) noexcept
      : limit_(limit), tokens_(status == WEIR_ALLOW ? tokens : 0), status_(status) {}

  weir_limit* limit_ = nullptr;
  std::uint32_t tokens_ = 0;
  Status status_{WEIR_DENY};
};

// A limit of the host, or of this process while no agent knows it. As cheap to copy as a pointer.
class Limit {
 public:
  // Empty: refuses everything.
  constexpr Limit() noexcept = default;
  constexpr explicit Limit(weir_limit* handle) noexcept : handle_(handle) {}

  constexpr explicit operator bool() const noexcept { return handle_ != nullptr; }
  constexpr weir_limit* native_handle() const noexcept { return handle_; }
  friend constexpr bool operator==(Limit, Limit) noexcept = default;

  // Takes n tokens, all or none, for a call of class critical. [hot]
  [[nodiscard]] bool try_acquire(std::uint32_t n = 1) const noexcept {
    return weir_try_acquire(handle_, n) == WEIR_ALLOW;
  }
  [[nodiscard]] bool try_acquire(std::uint32_t n, Priority priority) const noexcept {
    return weir_try_acquire_class(handle_, n, static_cast<std::int32_t>(priority)) == WEIR_ALLOW;
  }

  // The same, with the tokens in a handle that can give them back. [hot]
  Permit admit(std::uint32_t n = 1) const noexcept {
    return Permit(handle_, n, weir_try_acquire(handle_, n));
  }
  Permit admit(std::uint32_t n, Priority priority) const noexcept {
    return Permit(handle_, n,
                  weir_try_acquire_class(handle_, n, static_cast<std::int32_t>(priority)));
  }

  // Takes n tokens, waiting in turn for at most `timeout`; a wait that would be longer fails at
  // once. [setup: it sleeps, but never allocates]
  template <class Rep, class Period>
  Acquired acquire(std::uint32_t n, std::chrono::duration<Rep, Period> timeout,
                   Priority priority = Priority::critical) const noexcept {
    std::uint64_t wait_ns = 0;
    const weir_status status = weir_acquire_class(handle_, n, static_cast<std::int32_t>(priority),
                                                  detail::to_ns(timeout), &wait_ns);
    return detail::to_acquired(status, wait_ns);
  }

  // Gives back n tokens that were acquired and not used; what the bucket has no room for is void.
  // WEIR_OK, WEIR_E_INVALID. [hot]
  Status refund(std::uint32_t n) const noexcept { return Status(weir_refund(handle_, n)); }

  // Takes all tokens that are there; how many that was. [hot]
  std::uint64_t drain() const noexcept {
    std::uint64_t taken = 0;
    return weir_drain(handle_, &taken) == WEIR_OK ? taken : 0;
  }

  // How many tokens could be taken now. Advisory: others spend meanwhile. [hot]
  std::uint64_t peek() const noexcept {
    std::uint64_t tokens = 0;
    return weir_peek(handle_, &tokens) == WEIR_OK ? tokens : 0;
  }

  // In what time n tokens are likely to be there: zero when they are there now, kForever when
  // never, as with more than the bucket can hold. [hot]
  std::chrono::nanoseconds retry_after(std::uint32_t n = 1) const noexcept {
    std::uint64_t wait_ns = 0;
    return weir_retry_after(handle_, n, &wait_ns) == WEIR_OK ? detail::from_ns(wait_ns) : kForever;
  }

  // The limit as it is now; all zero for an empty handle. [hot]
  LimitInfo info() const noexcept {
    weir_limit_info raw{};
    raw.struct_bytes = sizeof(raw);
    LimitInfo info;
    if (weir_limit_read(handle_, &raw) != WEIR_OK) return info;
    info.shared = raw.shared != 0;
    info.agent_alive = raw.agent_alive != 0;
    info.algorithm = static_cast<Algorithm>(raw.algorithm);
    info.tokens = raw.tokens;
    info.amount = raw.amount;
    info.period = detail::from_ns(raw.period_ns);
    info.burst = raw.burst;
    info.refused_total = raw.refused_total;
    info.owed = raw.owed;
    return info;
  }

 private:
  weir_limit* handle_ = nullptr;
};

// A call that waits without a thread, for event loops of every kind: construct, then poll() when
// poll_after() has passed, until pending() is false. It belongs to one thread at a time; the
// destructor leaves the queue. weir/asio.hpp is built on it.
class [[nodiscard]] Wait {
 public:
  Wait() noexcept = default;
  // Begins; may be finished at once. [setup]
  template <class Rep, class Period>
  Wait(Limit limit, std::uint32_t n, std::chrono::duration<Rep, Period> timeout,
       Priority priority = Priority::critical) noexcept {
    status_ = weir_wait_begin(limit.native_handle(), n, static_cast<std::int32_t>(priority),
                              detail::to_ns(timeout), &wait_, &poll_after_ns_);
  }
  Wait(Wait&& other) noexcept { take(other); }
  Wait& operator=(Wait&& other) noexcept {
    if (this == &other) return *this;
    cancel();
    take(other);
    return *this;
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  ~Wait() { cancel(); }

  bool pending() const noexcept { return status_ == WEIR_PENDING; }
  // WEIR_PENDING, WEIR_ALLOW, WEIR_DENY, WEIR_E_INVALID or WEIR_E_TOO_LARGE.
  Status status() const noexcept { return Status(status_); }
  // Pending: when to poll, from now. Refused at once: how long the wait would have been.
  std::chrono::nanoseconds poll_after() const noexcept { return detail::from_ns(poll_after_ns_); }

  // [hot]
  Status poll() noexcept {
    if (pending()) status_ = weir_wait_poll(&wait_, &poll_after_ns_);
    return status();
  }
  // Leaves the queue; tokens that came at the last moment go back. [setup]
  void cancel() noexcept {
    if (!pending()) return;
    weir_wait_cancel(&wait_);
    status_ = WEIR_DENY;
  }

 private:
  void take(Wait& other) noexcept {
    wait_ = other.wait_;  // the words do not depend on where they lie
    status_ = std::exchange(other.status_, WEIR_DENY);
    poll_after_ns_ = other.poll_after_ns_;
  }

  weir_wait wait_{};
  weir_status status_ = WEIR_DENY;
  std::uint64_t poll_after_ns_ = 0;
};

// The process's connection to the agent, and the owner of its limits. One a process is enough.
// Destroying, moving and assigning it: by one thread, with no call on it under way. [setup]
class Client {
 public:
  // Empty: has no limits.
  constexpr Client() noexcept = default;
  Client(Client&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Client& operator=(Client&& other) noexcept {
    if (this != &other) weir_close(std::exchange(handle_, std::exchange(other.handle_, nullptr)));
    return *this;
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { weir_close(handle_); }

  // Opens a client. Without an agent it opens too, unless require_agent is set, and attaches by
  // itself when one comes. [setup] The errors are those of weir_open.
  static Result<Client> try_open(const Options& options = {}) noexcept {
    if (options.connect_timeout.count() < 0 ||
        options.connect_timeout > std::chrono::milliseconds(UINT32_MAX))
      return Status(WEIR_E_INVALID);
    weir_options raw{};
    raw.struct_bytes = sizeof(raw);
    raw.connect_timeout_ms = static_cast<std::uint32_t>(options.connect_timeout.count());
    raw.socket_path = options.socket_path;
    raw.require_agent = options.require_agent ? 1 : 0;
    raw.label = options.label;
    Client client;
    const weir_status status = weir_open(&raw, &client.handle_);
    if (status != WEIR_OK) return Status(status);
    return client;
  }

  // The limit of that name (1..127 bytes, none of them zero). The same name gives the same handle;
  // the first caller's options stay. [setup] WEIR_E_INVALID, WEIR_E_NO_MEMORY, WEIR_E_LIMIT.
  Result<Limit> try_limit(std::string_view name, const LimitOptions& options = {}) noexcept {
    char text[128];
    if (name.empty() || name.size() >= sizeof(text) || name.find('\0') != std::string_view::npos ||
        options.period.count() <= 0)
      return Status(WEIR_E_INVALID);
    std::memcpy(text, name.data(), name.size());
    text[name.size()] = '\0';
    weir_limit_options raw{};
    raw.struct_bytes = sizeof(raw);
    raw.mode = static_cast<std::int32_t>(options.mode);
    raw.amount = options.amount;
    raw.period_ns = static_cast<std::uint64_t>(options.period.count());
    raw.burst = options.burst;
    weir_limit* handle = nullptr;
    const weir_status status = weir_limit_get(handle_, text, &raw, &handle);
    if (status != WEIR_OK) return Status(status);
    return Limit(handle);
  }

#if WEIR_HAS_EXCEPTIONS
  // The same, throwing Error.
  static Client open(const Options& options = {}) {
    Result<Client> opened = try_open(options);
    if (!opened) throw Error(opened.status());
    return std::move(*opened);
  }
  Limit limit(std::string_view name, const LimitOptions& options = {}) {
    const Result<Limit> got = try_limit(name, options);
    if (!got) throw Error(got.status());
    return *got;
  }
#endif

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  weir_client* native_handle() const noexcept { return handle_; }

  // Whether an agent serves this client: WEIR_OK, or why not. [hot]
  Status state() const noexcept { return Status(weir_client_state(handle_)); }
  bool attached() const noexcept { return state().ok(); }

  // Tries to attach now, waiting up to `timeout`, which is rounded up to milliseconds. Answers as
  // state(). [setup]
  template <class Rep, class Period>
  Status attach(std::chrono::duration<Rep, Period> timeout) noexcept {
    const std::uint64_t ms =
        detail::to_ns(timeout) / 1'000'000 + (detail::to_ns(timeout) % 1'000'000 != 0 ? 1 : 0);
    return Status(
        weir_attach(handle_, ms > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(ms)));
  }

 private:
  weir_client* handle_ = nullptr;
};

}  // namespace weir

#endif  // WEIR_WEIR_HPP
