// The rows of weir_store_bench: what the store of the quotas takes a second.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::bench {

struct StoreRow {
  std::string name;
  double value = 0;
  std::string unit;
  double bar = 0;
  bool more_is_better = true;
  std::string note;

  bool reached() const { return more_is_better ? value >= bar : value <= bar; }
};

// Each makes a store of its own in `directory`. Empty rows, with a message on stderr, when nothing
// could be measured.
std::vector<StoreRow> measure_grants(const std::string& directory, bool quick);
// On an etcd that is there: HOST:PORT. Everything below one prefix of its own is removed.
std::vector<StoreRow> measure_grants_of_etcd(const std::string& endpoint, bool quick);
// By weir-server itself, over sockets.
std::vector<StoreRow> measure_grants_over_connections(const std::string& directory, bool quick);
std::vector<StoreRow> measure_audit(const std::string& directory, bool quick);
std::vector<StoreRow> measure_million(const std::string& directory, bool quick);

}  // namespace weir::bench
