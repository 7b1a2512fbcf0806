// weir_lease_bench [--quick] [--check] [--only server|book|agent|quota] [--json FILE]: heartbeats,
// and a call for a unit of a quota.
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "bench/lease_bench.h"

namespace {

using weir::bench::LeaseRow;

bool write_json(const std::string& path, const std::vector<LeaseRow>& rows) {
  std::FILE* out = std::fopen(path.c_str(), "w");
  if (out == nullptr) return false;
  std::fprintf(out, "[");
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::fprintf(out,
                 "%s\n  {\"name\": \"%s\", \"ns_median\": %.1f, \"floor_ns_median\": %.1f, "
                 "\"ratio\": %.3f, \"bar\": %.2f, \"reached\": %s}",
                 i == 0 ? "" : ",", rows[i].name.c_str(), rows[i].ns_median,
                 rows[i].floor_ns_median, rows[i].ratio, rows[i].bar,
                 rows[i].reached() ? "true" : "false");
  std::fprintf(out, "\n]\n");
  return std::fclose(out) == 0;
}

std::vector<LeaseRow> all_of(std::optional<LeaseRow> row) {
  std::vector<LeaseRow> rows;
  if (row) rows.push_back(std::move(*row));
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  bool check = false;
  std::string json, only;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--check") {
      check = true;
    } else if (argument == "--only" && i + 1 < argc) {
      only = argv[++i];
    } else if (argument == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(
          stderr,
          "usage: weir_lease_bench [--quick] [--check] [--only server|book|agent|quota] [--json "
          "FILE]\n");
      return 64;
    }
  }
  std::vector<LeaseRow> rows;
  struct Measured {
    std::string_view name;
    std::vector<LeaseRow> (*run)(bool quick);
  };
  constexpr auto kServer = [](bool fast) {
    return all_of(weir::bench::measure_lease_server(fast));
  };
  constexpr auto kBook = [](bool fast) { return all_of(weir::bench::measure_lease_book(fast)); };
  constexpr Measured kAll[] = {{"server", kServer},
                               {"book", kBook},
                               {"agent", weir::bench::measure_lease_agent},
                               {"quota", weir::bench::measure_quota_admit}};
  for (const Measured& each : kAll) {
    if (!only.empty() && only != each.name) continue;
    const auto measured = each.run(quick);
    if (measured.empty()) return 1;
    for (const LeaseRow& row : measured) {
      std::printf(
          "%-22s %8.*f %-3s floor %8.*f (%s)  ratio %.3f (%.3f..%.3f)  bar %s %.2f  %s  %s\n",
          row.name.c_str(), row.unit == "ns" && row.ns_median >= 100 ? 0 : 2, row.ns_median,
          row.unit.c_str(), row.unit == "ns" && row.ns_median >= 100 ? 0 : 2, row.floor_ns_median,
          row.floor.c_str(), row.ratio, row.ratio_p10, row.ratio_p90,
          row.more_is_better ? ">=" : "<=", row.bar, row.reached() ? "reached" : "MISSED",
          row.note.c_str());
      std::fflush(stdout);
      rows.push_back(row);
    }
  }
  if (!json.empty() && !write_json(json, rows)) {
    std::perror(json.c_str());
    return 1;
  }
  for (const LeaseRow& row : rows)
    if (check && !row.reached()) return 2;
  return 0;
}
