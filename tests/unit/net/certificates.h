// Certificates made while a test runs, so that none of them ever expires unasked.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace weir::net {

struct CertificateOptions {
  std::string common_name = "test";
  std::vector<std::string> names;  // "DNS:a.example", "IP:127.0.0.1", "URI:spiffe://x/y"
  long days = 30;                  // below 0: expired so long ago
  bool authority = false;
};

// A key and its certificate, in PEM files below a directory of the test's own.
class TestCertificate {
 public:
  // Signed by `issuer`, or by itself.
  TestCertificate(const std::string& directory, const std::string& file,
                  const CertificateOptions& options, const TestCertificate* issuer = nullptr);
  ~TestCertificate();
  TestCertificate(const TestCertificate&) = delete;
  TestCertificate& operator=(const TestCertificate&) = delete;

  const std::string& certificate_file() const { return certificate_file_; }
  const std::string& key_file() const { return key_file_; }
  // The key once more, locked by a passphrase.
  std::string encrypted_key_file() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  std::string certificate_file_;
  std::string key_file_;
};

}  // namespace weir::net
