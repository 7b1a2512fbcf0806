// The tools are OpenSSL's: a comparison whose time says nothing, and a SipHash whose context is
// kept for the next call, so that a mark costs some fifty nanoseconds.
#include "net/secret.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace weir::net {

namespace {

constexpr std::string_view kHashPrefix = "sha256:";
constexpr std::size_t kHashBytes = 32;
using Hash = std::array<unsigned char, kHashBytes>;

bool hash_of(std::string_view text, Hash& hash) noexcept {
  unsigned bytes = 0;
  return EVP_Digest(text.data(), text.size(), hash.data(), &bytes, EVP_sha256(), nullptr) == 1 &&
         bytes == kHashBytes;
}

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_hash(std::string_view configured, Hash& hash) noexcept {
  if (!configured.starts_with(kHashPrefix)) return false;
  configured.remove_prefix(kHashPrefix.size());
  if (configured.size() != 2 * kHashBytes) return false;
  for (std::size_t i = 0; i < kHashBytes; ++i) {
    const int high = hex_value(configured[2 * i]);
    const int low = hex_value(configured[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    hash[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return true;
}

struct FreeMac {
  void operator()(EVP_MAC_CTX* context) const noexcept { EVP_MAC_CTX_free(context); }
};
using MacContext = std::unique_ptr<EVP_MAC_CTX, FreeMac>;

MacContext make_siphash() noexcept {
  EVP_MAC* mac = EVP_MAC_fetch(nullptr, "SIPHASH", nullptr);
  if (mac == nullptr) return nullptr;
  MacContext context(EVP_MAC_CTX_new(mac));
  EVP_MAC_free(mac);
  std::size_t bytes = sizeof(std::uint64_t);
  const OSSL_PARAM size[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &bytes),
                             OSSL_PARAM_construct_end()};
  if (context && EVP_MAC_CTX_set_params(context.get(), size) != 1) return nullptr;
  return context;
}

}  // namespace

bool is_token_hash(std::string_view configured) noexcept {
  Hash hash;
  return parse_hash(configured, hash);
}

bool token_matches(std::string_view presented, std::string_view configured) noexcept {
  Hash wanted;
  Hash shown;
  if (presented.empty() || !parse_hash(configured, wanted) || !hash_of(presented, shown))
    return false;
  return CRYPTO_memcmp(wanted.data(), shown.data(), kHashBytes) == 0;
}

std::string token_hash(std::string_view token) {
  Hash hash;
  if (!hash_of(token, hash)) return {};
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(kHashPrefix);
  for (const unsigned char byte : hash) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

std::uint64_t mac64(std::span<const unsigned char, 16> key,
                    std::span<const std::byte> data) noexcept {
  static thread_local const MacContext context = make_siphash();
  std::array<unsigned char, sizeof(std::uint64_t)> out{};
  std::size_t bytes = 0;
  const bool made =
      context && EVP_MAC_init(context.get(), key.data(), key.size(), nullptr) == 1 &&
      EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(data.data()),
                     data.size()) == 1 &&
      EVP_MAC_final(context.get(), out.data(), &bytes, out.size()) == 1 && bytes == out.size();
  // A mark of zeros would be everybody's. An OpenSSL without SipHash is no place to run on.
  if (!made) std::abort();
  std::uint64_t mark = 0;
  for (std::size_t i = out.size(); i-- > 0;)
    mark = mark << 8 | out[i];
  return mark;
}

bool random_bytes(std::span<unsigned char> out) noexcept {
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace weir::net
