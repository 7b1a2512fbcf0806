#include "bench/report.h"

namespace weir::bench {

namespace {

// The idle agent's row is a share of a core; all others are times of a call.
bool is_percent(const Row& row) { return row.name == "idle_agent_cpu"; }

}  // namespace

void print_table(std::FILE* out, const std::vector<Row>& rows) {
  std::fprintf(out, "%-22s %10s %10s %8s %15s %6s  %s\n", "row", "median", "floor", "ratio",
               "10..90 %", "bar", "floor: what");
  for (const Row& row : rows) {
    const char* unit = is_percent(row) ? "% " : "ns";
    std::fprintf(out, "%-22s %7.2f %s %7.2f %s %8.3f %7.3f..%-6.3f %6.2f  %-28s %s\n",
                 row.name.c_str(), row.found.ns_median, unit, row.found.floor_ns_median, unit,
                 row.found.ratio, row.found.ratio_p10, row.found.ratio_p90, row.bar,
                 row.floor.c_str(),
                 row.bar == 0    ? "-"
                 : row.reached() ? "ok"
                                 : "MISS");
    if (row.admitted_over_minted)
      std::fprintf(out, "%-22s %.12g admitted over minted\n", "", *row.admitted_over_minted);
    if (!row.note.empty()) std::fprintf(out, "%-22s %s\n", "", row.note.c_str());
  }
}

bool write_json(const std::string& path, const std::vector<Row>& rows) {
  std::FILE* out = std::fopen(path.c_str(), "w");
  if (out == nullptr) return false;
  std::fprintf(out, "[\n");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::fprintf(out, "  {\"name\": \"%s\", ", row.name.c_str());
    // A row that could not be measured must not look like a very good one.
    if (row.found.rounds == 0)
      std::fprintf(out, "\"ns_median\": null, \"floor_ns_median\": null, \"ratio\": null");
    else
      std::fprintf(out, "\"ns_median\": %.4f, \"floor_ns_median\": %.4f, \"ratio\": %.4f",
                   row.found.ns_median, row.found.floor_ns_median, row.found.ratio);
    if (row.admitted_over_minted)
      std::fprintf(out, ", \"admitted_over_minted\": %.17g", *row.admitted_over_minted);
    std::fprintf(out, "}%s\n", i + 1 < rows.size() ? "," : "");
  }
  std::fprintf(out, "]\n");
  return std::fclose(out) == 0;
}

}  // namespace weir::bench
