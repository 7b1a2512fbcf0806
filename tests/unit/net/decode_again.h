#pragma once

#include "net/lease_wire.h"

namespace weir::net {

// What the receiver says to it.
template <class Message>
Complaint decode_again(const Message& sent) {
  Message received;
  return decode(sent.SerializeAsString(), received);
}

}  // namespace weir::net
