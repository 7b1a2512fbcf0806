// One connection, and what it turned out to be.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lease/book.h"
#include "net/listener.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

class Space;

struct Session {
  net::Connection* connection = nullptr;
  Space* space = nullptr;   // set by the first good hello
  lease::SessionId id = 0;  // 0: none, as for an operator's tool
  lease::Identity identity;
  std::string version;  // of the program at the other end
  std::uint32_t protocol_minor = 0;
  std::string credential;  // what opened the namespace; empty: it needed none
  bool passive = false;
  // Its hello waits until it is known who owns the namespace.
  std::unique_ptr<v1::Hello> parked;
  bool welcomed = false;            // the welcome of this id has left
  lease::Welcome welcome;           // until then
  std::uint64_t rules_version = 0;  // that the other end has, or is about to have
  lease::TimeNs since_boot_ns = 0;
  lease::TimeNs heard_boot_ns = 0;
};

}  // namespace weir::server
