// weir_store_bench [--quick] [--json FILE] [--dir DIR] [--etcd HOST:PORT]: the durable store, on a
// real disk; with --etcd that of several servers, on an etcd which is there, and nothing else.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "bench/store_bench.h"

namespace {

using weir::bench::StoreRow;

bool write_json(const std::string& path, const std::vector<StoreRow>& rows) {
  std::FILE* out = std::fopen(path.c_str(), "w");
  if (out == nullptr) return false;
  std::fprintf(out, "[");
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::fprintf(out,
                 "%s\n  {\"name\": \"%s\", \"value\": %.1f, \"unit\": \"%s\", \"bar\": %.1f, "
                 "\"reached\": %s}",
                 i == 0 ? "" : ",", rows[i].name.c_str(), rows[i].value, rows[i].unit.c_str(),
                 rows[i].bar, rows[i].reached() ? "true" : "false");
  std::fprintf(out, "\n]\n");
  return std::fclose(out) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  std::string json, parent = ".", etcd;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (argument == "--dir" && i + 1 < argc) {
      parent = argv[++i];
    } else if (argument == "--etcd" && i + 1 < argc) {
      etcd = argv[++i];
    } else {
      std::fprintf(
          stderr,
          "usage: weir_store_bench [--quick] [--json FILE] [--dir DIR] [--etcd HOST:PORT]\n");
      return 64;
    }
  }
  std::string directory = parent + "/weir-store-bench-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) {
    std::perror(directory.c_str());
    return 1;
  }
  std::vector<StoreRow> rows;
  bool measured = true;
  using Measure = std::function<std::vector<StoreRow>(const std::string&, bool)>;
  std::vector<Measure> measures{weir::bench::measure_grants,
                                weir::bench::measure_grants_over_connections,
                                weir::bench::measure_audit, weir::bench::measure_million};
  if (!etcd.empty())
    measures = {[&](const std::string&, bool short_run) {
      return weir::bench::measure_grants_of_etcd(etcd, short_run);
    }};
  for (const Measure& measure : measures) {
    const std::vector<StoreRow> some = measure(directory, quick);
    measured = measured && !some.empty();
    for (const StoreRow& row : some) {
      std::printf("%-42s %12.1f %-8s bar %s %.0f  %s  %s\n", row.name.c_str(), row.value,
                  row.unit.c_str(), row.more_is_better ? ">=" : "<=", row.bar,
                  row.reached() ? "reached" : "MISSED ", row.note.c_str());
      std::fflush(stdout);
      rows.push_back(row);
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  if (!json.empty() && !write_json(json, rows)) {
    std::perror(json.c_str());
    return 1;
  }
  return measured ? 0 : 1;
}
