// What went wrong with a connection, and the text that a person reads about it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace weir::net {

enum class Failure : std::uint8_t {
  no_agent,     // nothing listens at the path
  not_allowed,  // the kernel or the agent refused this user
  timeout,      // somebody listens, and does not answer in time
  broken,       // the connection ended, or what came over it was no answer
  refused,      // the agent answered with an error text
  invalid,      // the caller's own arguments
};

struct Error {
  Failure kind = Failure::broken;
  std::string text;  // what was wrong and what to do
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : value_(std::move(error)) {}
  explicit operator bool() const noexcept { return value_.index() == 0; }
  T& operator*() noexcept { return *std::get_if<0>(&value_); }
  T* operator->() noexcept { return std::get_if<0>(&value_); }
  const T& operator*() const noexcept { return *std::get_if<0>(&value_); }
  const T* operator->() const noexcept { return std::get_if<0>(&value_); }
  const Error& error() const noexcept { return *std::get_if<1>(&value_); }

 private:
  std::variant<T, Error> value_;
};

}  // namespace weir::net
