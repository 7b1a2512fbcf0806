// The world misbehaves: a Result says what was found, in static text, and the caller decides.
#pragma once

#include <cstdint>
#include <utility>
#include <variant>

namespace weir::shm {

enum class Errc : std::int32_t {
  system = 1,    // a system call failed; os_error has errno
  too_small,     // shorter than it says or than it must be
  bad_magic,     // not a segment of weir
  not_ready,     // still being made
  wrong_major,   // made by an incompatible version
  bad_geometry,  // counts outside their bounds
  not_sealed,    // somebody else could still shrink or write it
  wrong_peer,    // the other end is not who it should be
};

struct Error {
  Errc code = Errc::system;
  const char* what = "";
  int os_error = 0;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) noexcept : value_(std::move(value)) {}
  Result(Error error) noexcept : value_(error) {}
  explicit operator bool() const noexcept { return value_.index() == 0; }
  T& operator*() noexcept { return *std::get_if<0>(&value_); }
  T* operator->() noexcept { return std::get_if<0>(&value_); }
  const T* operator->() const noexcept { return std::get_if<0>(&value_); }
  const Error& error() const noexcept { return *std::get_if<1>(&value_); }

 private:
  std::variant<T, Error> value_;
};

}  // namespace weir::shm
