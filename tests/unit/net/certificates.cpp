// As few steps as OpenSSL needs; a step that fails ends the test with an exception.
#include "tests/unit/net/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <stdexcept>

namespace weir::net {

namespace {

void need(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  need(extension != nullptr, "extension");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

template <class Write>
void write_file(const std::string& path, Write&& write) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  need(file != nullptr, "fopen");
  need(write(file) == 1, "write");
  std::fclose(file);
}

}  // namespace

struct TestCertificate::Parts {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

TestCertificate::TestCertificate(const std::string& directory, const std::string& file,
                                 const CertificateOptions& options, const TestCertificate* issuer)
    : parts_(std::make_unique<Parts>()),
      certificate_file_(directory + "/" + file + ".pem"),
      key_file_(directory + "/" + file + ".key") {
  static long serial = 1;
  parts_->key = EVP_EC_gen("P-256");
  need(parts_->key != nullptr, "key");
  X509* certificate = parts_->certificate = X509_new();
  need(certificate != nullptr, "certificate");
  X509* signer = issuer != nullptr ? issuer->parts_->certificate : certificate;
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  constexpr long kDayS = 86'400;
  X509_gmtime_adj(X509_getm_notBefore(certificate),
                  (options.days < 0 ? 2 * options.days : -1) * kDayS);
  X509_gmtime_adj(X509_getm_notAfter(certificate), options.days * kDayS);
  X509_set_pubkey(certificate, parts_->key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(options.common_name.data()),
                             static_cast<int>(options.common_name.size()), -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(signer));
  if (options.authority)
    add_extension(certificate, signer, NID_basic_constraints, "critical,CA:TRUE");
  std::string names;
  for (const std::string& entry : options.names)
    names += (names.empty() ? "" : ",") + entry;
  if (!names.empty()) add_extension(certificate, signer, NID_subject_alt_name, names);
  EVP_PKEY* signing_key = issuer != nullptr ? issuer->parts_->key : parts_->key;
  need(X509_sign(certificate, signing_key, EVP_sha256()) > 0, "sign");
  write_file(certificate_file_, [&](std::FILE* out) { return PEM_write_X509(out, certificate); });
  write_file(key_file_, [&](std::FILE* out) {
    return PEM_write_PrivateKey(out, parts_->key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

TestCertificate::~TestCertificate() {
  X509_free(parts_->certificate);
  EVP_PKEY_free(parts_->key);
}

std::string TestCertificate::encrypted_key_file() const {
  const std::string path = key_file_ + ".locked";
  unsigned char word[] = "secret";
  write_file(path, [&](std::FILE* out) {
    return PEM_write_PrivateKey(out, parts_->key, EVP_aes_128_cbc(), word, 6, nullptr, nullptr);
  });
  return path;
}

}  // namespace weir::net
