// Between what desks and books say and what travels: both directions, for both ends. Whoever links
// weir::server_wire gets nothing of the server.
//
// Objects are meant to be used again and again: a conversion fills what is there and allocates only
// when a table grows. What comes from the wire has passed net::check(); a table that is crooked all
// the same is refused here, and no number leaves its range.
#pragma once

#include "lease/messages.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

// What a lease::Hello does not know (version, namespace, token, rules) stays as it is.
void to_wire(const lease::Hello& hello, v1::Hello& message);
void to_wire(const lease::Request& request, v1::Request& message);
void to_wire(const lease::Ack& ack, v1::Ack& message);
void to_wire(const lease::Goodbye& goodbye, v1::Goodbye& message);
void to_wire(const lease::Welcome& welcome, v1::Welcome& message);
void to_wire(const lease::Answer& answer, v1::Answer& message);
void to_wire(const lease::Poke& poke, v1::Poke& message);

// False when the columns of a table differ in length; then the result means nothing.
[[nodiscard]] bool from_wire(const v1::Hello& message, lease::Hello& hello);
[[nodiscard]] bool from_wire(const v1::Request& message, lease::Request& request);
void from_wire(const v1::Ack& message, lease::Ack& ack);
void from_wire(const v1::Goodbye& message, lease::Goodbye& goodbye);
void from_wire(const v1::Welcome& message, lease::Welcome& welcome);
[[nodiscard]] bool from_wire(const v1::Answer& message, lease::Answer& answer);
void from_wire(const v1::Poke& message, lease::Poke& poke);

}  // namespace weir::server
