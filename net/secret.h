// Secrets: comparing a credential, and a keyed mark that only its maker can make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weir::net {

// Whether `configured` has the form of a stored credential: "sha256:" and 64 hexadecimal digits.
bool is_token_hash(std::string_view configured) noexcept;

// Whether the presented token has the configured hash. Takes the same time wherever they differ; a
// configured text of another form matches nothing, and neither does an empty token.
bool token_matches(std::string_view presented, std::string_view configured) noexcept;

// "sha256:<hex>", what an operator writes into the rules in place of the token.
std::string token_hash(std::string_view token);

// SipHash-2-4: 64 bits over `data` that nobody can make without the key.
std::uint64_t mac64(std::span<const unsigned char, 16> key,
                    std::span<const std::byte> data) noexcept;

// Bytes from the kernel, for keys. False when it has none.
bool random_bytes(std::span<unsigned char> out) noexcept;

}  // namespace weir::net
