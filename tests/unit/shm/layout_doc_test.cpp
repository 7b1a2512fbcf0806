// shm/LAYOUT.md states offsets, sizes, values and encodings for readers in other languages. Here
// they are compared with what the compiler says, and the compiler's list of fields with the text
// of the headers: a field that is inserted, moved, renamed or left out of either fails.
#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
// g++ 12 takes <regex> under the AddressSanitizer for a use of uninitialised memory (bug 105562).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "shm/book.h"
#include "shm/bucket.h"
#include "shm/frame.h"
#include "shm/layout.h"
#include "shm/office.h"
#include "shm/quota_frame.h"
#include "shm/toolkit.h"

namespace weir::shm {
namespace {

struct Field {
  std::size_t offset = 0;
  std::size_t bytes = 0;
  friend bool operator==(const Field&, const Field&) = default;
};
struct Struct {
  std::size_t bytes = 0;
  std::map<std::string, Field> fields;
};
using Structs = std::map<std::string, Struct>;
using Row = std::vector<std::string>;

// ---- what the compiler says ----------------------------------------------------------------

#define WEIR_STRUCT(name) all[#name].bytes = sizeof(name)
#define WEIR_FIELD(name, field) \
  all[#name].fields[#field] = {offsetof(name, field), sizeof(name::field)}

}  // namespace
}  // namespace weir::shm

#include "tests/unit/shm/layout_values.h"
#include "tests/unit/shm/toolkit_fields.h"

namespace weir::shm {
namespace {

void add_rules(Structs& all) {
  WEIR_STRUCT(RulesHeader);
  WEIR_FIELD(RulesHeader, magic);
  WEIR_FIELD(RulesHeader, version);
  WEIR_FIELD(RulesHeader, segment_bytes);
  WEIR_FIELD(RulesHeader, agent_epoch);
  WEIR_FIELD(RulesHeader, counters_id);
  WEIR_FIELD(RulesHeader, stale_after_ns);
  WEIR_FIELD(RulesHeader, client_term_ns);
  WEIR_FIELD(RulesHeader, header_bytes);
  WEIR_FIELD(RulesHeader, limits_max);
  WEIR_FIELD(RulesHeader, rule_slot_bytes);
  WEIR_FIELD(RulesHeader, live_slot_bytes);
  WEIR_FIELD(RulesHeader, resources_max);
  WEIR_FIELD(RulesHeader, features_max);
  WEIR_FIELD(RulesHeader, quota_keys);
  WEIR_FIELD(RulesHeader, quota_reserved);
  WEIR_FIELD(RulesHeader, quota_seed);
  WEIR_FIELD(RulesHeader, reserved0);
  WEIR_FIELD(RulesHeader, heartbeat_mono_ns);
  WEIR_FIELD(RulesHeader, table_flip);
  WEIR_FIELD(RulesHeader, sleeping);
  WEIR_FIELD(RulesHeader, tick_us);
  WEIR_FIELD(RulesHeader, reserved1);
  WEIR_FIELD(RulesHeader, cpu_sampled_mono_ns);
  WEIR_FIELD(RulesHeader, cpu_source);
  WEIR_FIELD(RulesHeader, cpu_usage_permille);
  WEIR_FIELD(RulesHeader, cpu_smoothed_permille);
  WEIR_FIELD(RulesHeader, cpu_capacity_millicpus);
  WEIR_FIELD(RulesHeader, cpu_throttled_permille);
  WEIR_FIELD(RulesHeader, cpu_psi_some_avg10_centipercent);
  WEIR_FIELD(RulesHeader, cpu_host_usage_permille);
  WEIR_FIELD(RulesHeader, cpu_reserved);
  WEIR_FIELD(RulesHeader, reserved2);
  WEIR_FIELD(RulesHeader, domain);
  WEIR_FIELD(RulesHeader, reserved3);
}

void add_slots(Structs& all) {
  WEIR_STRUCT(RuleSlot);
  WEIR_FIELD(RuleSlot, state);
  WEIR_FIELD(RuleSlot, generation);
  WEIR_FIELD(RuleSlot, algorithm);
  WEIR_FIELD(RuleSlot, fallback);
  WEIR_FIELD(RuleSlot, amount);
  WEIR_FIELD(RuleSlot, period_ns);
  WEIR_FIELD(RuleSlot, burst);
  WEIR_FIELD(RuleSlot, tail_amount);
  WEIR_FIELD(RuleSlot, tail_period_ns);
  WEIR_FIELD(RuleSlot, safe_amount);
  WEIR_FIELD(RuleSlot, safe_period_ns);
  WEIR_FIELD(RuleSlot, safe_burst);
  WEIR_FIELD(RuleSlot, reserve);
  WEIR_FIELD(RuleSlot, stripe_set);
  WEIR_FIELD(RuleSlot, stripes);
  WEIR_FIELD(RuleSlot, tail_burst_plus_1);
  WEIR_FIELD(RuleSlot, cluster_burst);
  WEIR_FIELD(RuleSlot, name);
  WEIR_FIELD(RuleSlot, reserved1);
  WEIR_STRUCT(LiveSlot);
  WEIR_FIELD(LiveSlot, lease_end_mono_ns);
  WEIR_FIELD(LiveSlot, tail_end_mono_ns);
  WEIR_FIELD(LiveSlot, edge_mono_ns);
  WEIR_FIELD(LiveSlot, owed);
  WEIR_FIELD(LiveSlot, stats_mono_ns);
  WEIR_FIELD(LiveSlot, minted_total);
  WEIR_FIELD(LiveSlot, spent_total);
  WEIR_FIELD(LiveSlot, refused_total);
  WEIR_FIELD(LiveSlot, level);
  WEIR_FIELD(LiveSlot, spent_per_s_milli);
  WEIR_FIELD(LiveSlot, refused_per_s_milli);
  WEIR_FIELD(LiveSlot, waiting);
  WEIR_FIELD(LiveSlot, forged_total);
  WEIR_FIELD(LiveSlot, lost_total);
  WEIR_FIELD(LiveSlot, rings);
  WEIR_FIELD(LiveSlot, reserved);
}

void add_counters(Structs& all) {
  WEIR_STRUCT(CountersHeader);
  WEIR_FIELD(CountersHeader, magic);
  WEIR_FIELD(CountersHeader, version);
  WEIR_FIELD(CountersHeader, segment_bytes);
  WEIR_FIELD(CountersHeader, counters_id);
  WEIR_FIELD(CountersHeader, header_bytes);
  WEIR_FIELD(CountersHeader, limits_max);
  WEIR_FIELD(CountersHeader, counter_slot_bytes);
  WEIR_FIELD(CountersHeader, cpus);
  WEIR_FIELD(CountersHeader, stripe_sets);
  WEIR_FIELD(CountersHeader, waiters);
  WEIR_FIELD(CountersHeader, lane_sets);
  WEIR_FIELD(CountersHeader, resources_max);
  WEIR_FIELD(CountersHeader, processes_max);
  WEIR_FIELD(CountersHeader, holders_max);
  WEIR_FIELD(CountersHeader, quota_keys);
  WEIR_FIELD(CountersHeader, quota_reserved);
  WEIR_FIELD(CountersHeader, reserved0);
  WEIR_FIELD(CountersHeader, office);
  WEIR_FIELD(CountersHeader, reserved1);
  WEIR_STRUCT(CounterSlot);
  WEIR_FIELD(CounterSlot, tokens);
  WEIR_FIELD(CounterSlot, reserved0);
  WEIR_FIELD(CounterSlot, epoch);
  WEIR_FIELD(CounterSlot, closed);
  WEIR_FIELD(CounterSlot, reserved1);
  WEIR_FIELD(CounterSlot, book);
  WEIR_FIELD(CounterSlot, returned);
  WEIR_FIELD(CounterSlot, minted_total);
  WEIR_FIELD(CounterSlot, cut_total);
  WEIR_FIELD(CounterSlot, reserved2);
  WEIR_STRUCT(StripeCell);
  WEIR_FIELD(StripeCell, taken);
  WEIR_FIELD(StripeCell, granted);
  WEIR_FIELD(StripeCell, reserved);
  WEIR_STRUCT(WaiterCell);
  WEIR_FIELD(WaiterCell, state);
  WEIR_FIELD(WaiterCell, limit_index);
  WEIR_FIELD(WaiterCell, limit_generation);
  WEIR_FIELD(WaiterCell, priority_class);
  WEIR_FIELD(WaiterCell, tokens);
  WEIR_FIELD(WaiterCell, reserved);
}

void add_frame(Structs& all) {
  WEIR_STRUCT(Frame);
  WEIR_FIELD(Frame, magic);
  WEIR_FIELD(Frame, type);
  WEIR_FIELD(Frame, bytes);
  WEIR_FIELD(Frame, major);
  WEIR_FIELD(Frame, minor);
  WEIR_FIELD(Frame, first);
  WEIR_FIELD(Frame, count);
  WEIR_FIELD(Frame, mono_offset_ns);
  WEIR_FIELD(Frame, agent_epoch);
  WEIR_FIELD(Frame, label);
}

Structs compiled() {
  Structs all;
  add_rules(all);
  add_slots(all);
  add_counters(all);
  add_frame(all);
  add_toolkit(all);
  add_quotas(all);
  return all;
}

// ---- what the texts say --------------------------------------------------------------------

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(std::string(WEIR_SOURCE_DIR) + "/" + path).rdbuf();
  EXPECT_FALSE(text.str().empty()) << path;
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

Row cells_of(const std::string& line) {
  Row cells;
  if (line.empty() || line[0] != '|') return cells;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) {
    std::erase(cell, '`');
    const auto first = cell.find_first_not_of(' ');
    const auto last = cell.find_last_not_of(' ');
    cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
  }
  return cells;
}

// All rows below table heads that begin with these cells.
std::vector<Row> rows_under(const std::string& text, const Row& head) {
  std::vector<Row> rows;
  bool inside = false;
  for (const std::string& line : lines_of(text)) {
    const Row cells = cells_of(line);
    if (cells.empty()) {
      inside = false;
    } else if (cells.size() >= head.size() && std::equal(head.begin(), head.end(), cells.begin())) {
      inside = true;
    } else if (inside && cells[0].find("---") == std::string::npos) {
      rows.push_back(cells);
    }
  }
  return rows;
}

std::uint64_t number(const std::string& text) { return std::stoull(text, nullptr, 0); }

Structs documented(const std::string& text) {
  Structs all;
  Struct* current = nullptr;
  const std::regex heading("### `(\\w+)`: (\\d+) bytes");
  for (const std::string& line : lines_of(text)) {
    std::smatch match;
    if (std::regex_match(line, match, heading)) {
      current = &all[match[1]];
      current->bytes = number(match[2]);
    } else if (line.starts_with("#")) {
      current = nullptr;
    } else if (const Row cells = cells_of(line);
               current != nullptr && cells.size() == 5 && std::isdigit(cells[0][0]) != 0) {
      const bool first =
          current->fields.emplace(cells[2], Field{number(cells[0]), number(cells[1])}).second;
      EXPECT_TRUE(first) << cells[2] << " stands twice in one table";
    }
  }
  return all;
}

// The fields of every struct of a header that starts with `struct alignas(` or is `Frame`, by a
// reading that is as simple as those headers are: one field a line.
std::map<std::string, std::set<std::string>> declared(const std::string& text) {
  std::map<std::string, std::set<std::string>> all;
  std::set<std::string>* current = nullptr;
  const std::regex opening("struct (?:alignas\\(\\w+\\) )?(\\w+) \\{");
  const std::regex field("\\s+[\\w:<>, ]+[>\\w] (\\w+)(?:\\[[^\\]]*\\])?(?:\\{\\}| = [^;]*)?;");
  for (std::string line : lines_of(text)) {
    if (const auto comment = line.find("//"); comment != std::string::npos) line.resize(comment);
    while (!line.empty() && line.back() == ' ')
      line.pop_back();
    std::smatch match;
    if (std::regex_match(line, match, opening) && !match.str(1).ends_with("Geometry")) {
      current = &all[match[1]];
    } else if (line.starts_with("}")) {
      current = nullptr;
    } else if (current != nullptr && !line.empty()) {
      const bool is_field = std::regex_match(line, match, field);
      EXPECT_TRUE(is_field) << "not understood: " << line;
      if (is_field) current->insert(match[1]);
    }
  }
  return all;
}

std::vector<std::string> differences(const Structs& expected, const Structs& actual) {
  std::vector<std::string> found;
  const auto note = [&](const std::string& what) { found.push_back(what); };
  for (const auto& [name, wanted] : expected) {
    const auto at = actual.find(name);
    if (at == actual.end()) {
      note(name + " is missing");
      continue;
    }
    if (at->second.bytes != wanted.bytes) note(name + " has another size");
    for (const auto& [field, place] : wanted.fields) {
      const auto there = at->second.fields.find(field);
      if (there == at->second.fields.end())
        note(name + "::" + field + " is missing");
      else if (!(there->second == place))
        note(name + "::" + field + " lies elsewhere");
    }
    for (const auto& [field, place] : at->second.fields)
      if (!wanted.fields.contains(field)) note(name + "::" + field + " does not exist");
  }
  for (const auto& [name, unknown] : actual)
    if (!expected.contains(name)) note(name + " does not exist");
  return found;
}

std::map<std::string, std::set<std::string>> names_of(const Structs& structs) {
  std::map<std::string, std::set<std::string>> names;
  for (const auto& [name, each] : structs)
    for (const auto& [field, place] : each.fields)
      names[name].insert(field);
  return names;
}

// ---- the comparisons -----------------------------------------------------------------------

TEST(LayoutDoc, StatesEveryFieldWhereItIs) {
  const auto found = differences(compiled(), documented(read_text("shm/LAYOUT.md")));

  for (const std::string& each : found)
    ADD_FAILURE() << "LAYOUT.md: " << each;
}

TEST(LayoutDoc, KnowsEveryFieldOfTheHeaders) {
  auto declared_fields = declared(read_text("shm/layout.h"));
  declared_fields.merge(declared(read_text("shm/frame.h")));
  declared_fields.merge(declared(read_text("shm/toolkit.h")));
  declared_fields.merge(declared(read_text("shm/quota.h")));
  declared_fields.merge(declared(read_text("shm/quota_frame.h")));
  // These are values of this process, not bytes that are shared.
  EXPECT_EQ(declared_fields.erase("HolderClaim"), 1U);
  EXPECT_EQ(declared_fields.erase("OutcomeTotals"), 1U);
  EXPECT_EQ(declared_fields.erase("QuotaFound"), 1U);

  EXPECT_EQ(declared_fields, names_of(compiled()));
}

TEST(LayoutDoc, LeavesNoHoleAndNoOverlap) {
  for (const auto& [name, each] : documented(read_text("shm/LAYOUT.md"))) {
    std::vector<Field> fields;
    for (const auto& [field, place] : each.fields)
      fields.push_back(place);
    std::sort(fields.begin(), fields.end(),
              [](const Field& a, const Field& b) { return a.offset < b.offset; });
    std::size_t end = 0;
    for (const Field& field : fields) {
      EXPECT_EQ(field.offset, end) << name;
      end = field.offset + field.bytes;
    }
    EXPECT_EQ(end, each.bytes) << name;
  }
}

TEST(LayoutDoc, StatesTheConstantsAndValues) {
  const std::string text = read_text("shm/LAYOUT.md");
  std::map<std::string, std::uint64_t> constants, values;
  for (const Row& row : rows_under(text, {"constant", "value"}))
    constants[row[0]] = number(row[1]);
  for (const Row& row : rows_under(text, {"enum", "name", "value"}))
    values[row[0] + "::" + row[1]] = number(row[2]);

  EXPECT_EQ(constants, compiled_constants());
  EXPECT_EQ(values, compiled_values());
}

TEST(LayoutDoc, KnowsEveryConstantOfTheLayout) {
  const auto known = compiled_constants();
  const std::string text = read_text("shm/layout.h") + read_text("shm/frame.h") +
                           read_text("shm/book.h") + read_text("shm/office.h") +
                           read_text("shm/toolkit.h") + read_text("shm/quota.h") +
                           read_text("shm/quota_frame.h");
  const std::regex constant("\ninline constexpr [\\w:]+ (k\\w+) =");
  for (std::sregex_iterator it(text.begin(), text.end(), constant), end; it != end; ++it)
    EXPECT_TRUE(known.contains(it->str(1))) << it->str(1) << " is not in LAYOUT.md";
}

TEST(LayoutDoc, StatesWhereThingsLie) {
  const std::string text = read_text("shm/LAYOUT.md");
  const auto rules = rows_under(text, {"limits_max", "hot words"});
  const auto counters = rows_under(text, {"limits_max", "cpus"});

  ASSERT_GE(rules.size(), 3U);
  for (const Row& row : rules) {
    const RulesGeometry g{static_cast<std::uint32_t>(number(row[0]))};
    EXPECT_EQ(number(row[1]), g.hot_offset());
    EXPECT_EQ(number(row[2]), g.live_offset());
    EXPECT_EQ(number(row[3]), g.table_offset(0));
    EXPECT_EQ(number(row[4]), g.table_offset(1));
    EXPECT_EQ(number(row[5]), g.bytes());
  }
  ASSERT_GE(counters.size(), 3U);
  for (const Row& row : counters) {
    const auto count = [&](std::size_t i) { return static_cast<std::uint32_t>(number(row[i])); };
    const CountersGeometry g{count(0), count(1), count(2), count(3)};
    EXPECT_EQ(number(row[4]), g.slot_offset());
    EXPECT_EQ(number(row[5]), g.lane_offset());
    EXPECT_EQ(number(row[6]), g.lane_stride());
    EXPECT_EQ(number(row[7]), g.stripe_offset());
    EXPECT_EQ(number(row[8]), g.waiter_offset());
    EXPECT_EQ(number(row[9]), g.bytes());
  }
  const auto sets = rows_under(text, {"lane_sets", "limits_max"});
  ASSERT_GE(sets.size(), 2U);
  for (const Row& row : sets) {
    const auto count = [&](std::size_t i) { return static_cast<std::uint32_t>(number(row[i])); };
    const CountersGeometry g{count(1), count(2), count(3), count(4), count(0)};
    EXPECT_EQ(number(row[5]), g.set_offset(1));
    EXPECT_EQ(number(row[6]), g.set_offset(2));
    EXPECT_EQ(number(row[7]), g.bytes_with_sets());
  }
}

TEST(LayoutDoc, StatesWhereTheToolkitLies) {
  const std::string text = read_text("shm/LAYOUT.md");
  const auto rules = rows_under(text, {"toolkit begins at"});
  const auto counters = rows_under(text, {"counters begin at"});
  ASSERT_TRUE(rules.size() >= 3 && counters.size() >= 3);
  const auto count = [](const Row& row, std::size_t i) {
    return static_cast<std::uint32_t>(number(row[i]));
  };
  for (const Row& row : rules) {
    const ToolkitGeometry g{.resources_max = count(row, 1),
                            .features_max = count(row, 2),
                            .rules_begin = number(row[0])};
    EXPECT_EQ(number(row[3]), g.feature_offset());
    EXPECT_EQ(number(row[4]), g.rules_bytes());
  }
  for (const Row& row : counters) {
    const ToolkitGeometry g{.resources_max = count(row, 1),
                            .processes_max = count(row, 3),
                            .holders_max = count(row, 4),
                            .cpus = count(row, 2),
                            .counters_begin = number(row[0])};
    EXPECT_EQ(number(row[5]), g.lane_offset());
    EXPECT_EQ(number(row[6]), g.process_offset());
    EXPECT_EQ(number(row[7]), g.holder_offset());
    EXPECT_EQ(number(row[8]), g.counters_bytes());
  }
  const auto quotas = rows_under(text, {"quotas begin at"});
  ASSERT_GE(quotas.size(), 3U);
  for (const Row& row : quotas) {
    const QuotaGeometry g{count(row, 1), number(row[0]), number(row[0])};
    EXPECT_EQ(number(row[2]), g.event_offset());
    EXPECT_EQ(number(row[3]), g.cell_offset());
    EXPECT_EQ(number(row[4]), g.cells());
    EXPECT_EQ(number(row[5]), g.slot_offset());
    EXPECT_EQ(number(row[6]), g.rules_bytes());
    EXPECT_EQ(number(row[7]), g.counters_bytes());
  }
  for (const Row& row : rows_under(text, {"key", "seed"}))
    EXPECT_EQ(number(row[2]), quota_hash(number(row[1]), QuotaText(row[0].data(), row[0].size())))
        << row[0];
  for (const Row& row : rows_under(text, {"process slot", "its generation"}))
    EXPECT_EQ(number(row[4]), holder_claim({.process = count(row, 0),
                                            .process_generation = count(row, 1),
                                            .resource = count(row, 2),
                                            .resource_generation = count(row, 3)}));
  for (const Row& row : rows_under(text, {"pid", "process generation"}))
    EXPECT_EQ(number(row[3]),
              process_word(count(row, 0), count(row, 1), static_cast<ProcessState>(count(row, 2))));
}

TEST(LayoutDoc, StatesTheEncodings) {
  const std::string text = read_text("shm/LAYOUT.md");
  const auto tokens = rows_under(text, {"mint", "tokens", "token word"});
  const auto books = rows_under(text, {"time ns", "level", "book"});
  const auto offices = rows_under(text, {"holder", "expiry ns", "office"});
  const auto hots = rows_under(text, {"generation", "flags", "word"});
  const auto waiters = rows_under(text, {"sequence", "state", "waiter word"});
  ASSERT_TRUE(tokens.size() >= 3 && books.size() >= 3 && offices.size() >= 3 && hots.size() >= 3 &&
              waiters.size() >= 3);

  for (const Row& row : tokens)
    EXPECT_EQ(number(row[2]), token_word(number(row[0]), std::stoll(row[1])));
  for (const Row& row : books)
    EXPECT_EQ(number(row[2]),
              encode_book(static_cast<std::int64_t>(number(row[0])), number(row[1])));
  for (const Row& row : offices)
    EXPECT_EQ(number(row[2]), encode_office(static_cast<std::uint32_t>(number(row[0])),
                                            static_cast<std::int64_t>(number(row[1]))));
  for (const Row& row : hots)
    EXPECT_EQ(number(row[2]), hot_word(static_cast<std::uint32_t>(number(row[0])),
                                       static_cast<std::uint32_t>(number(row[1]))));
  for (const Row& row : waiters)
    EXPECT_EQ(number(row[2]), waiter_word(static_cast<std::uint32_t>(number(row[0])),
                                          static_cast<WaiterState>(number(row[1]))));
}

// ---- the comparison itself -----------------------------------------------------------------

TEST(LayoutDoc, NoticesAFieldThatIsInsertedMovedRenamedOrLeftOut) {
  const Structs good = compiled();
  const auto mutant = [&](const auto& change) {
    Structs all = good;
    change(all["RuleSlot"]);
    return differences(all, good).size() + differences(good, all).size();
  };

  EXPECT_EQ(mutant([](Struct&) {}), 0U);
  EXPECT_GT(mutant([](Struct& s) { s.fields["planted"] = {264, 8}; }), 0U);
  EXPECT_GT(mutant([](Struct& s) { s.fields["amount"].offset += 8; }), 0U);
  EXPECT_GT(mutant([](Struct& s) { s.fields["amount"].bytes = 4; }), 0U);
  EXPECT_GT(mutant([](Struct& s) { s.fields.erase("amount"); }), 0U);
  EXPECT_GT(mutant([](Struct& s) { s.bytes = 640; }), 0U);
}

TEST(LayoutDoc, NoticesAFieldThatOnlyTheHeaderHas) {
  std::string text = read_text("shm/layout.h");
  const std::string before = "  A64 owed; ";
  const auto at = text.find(before);
  ASSERT_NE(at, std::string::npos);
  text.insert(at, "  A64 planted;  // a comment\n");

  EXPECT_TRUE(declared(text)["LiveSlot"].contains("planted"));
  EXPECT_NE(declared(text)["LiveSlot"], names_of(compiled())["LiveSlot"]);
}

TEST(LayoutDoc, NoticesADocumentThatIsWrong) {
  std::string text = read_text("shm/LAYOUT.md");
  const std::string row = "| 24 | 8 | `owed` |";
  const auto at = text.find(row);
  ASSERT_NE(at, std::string::npos);

  EXPECT_TRUE(differences(compiled(), documented(text)).empty());
  EXPECT_FALSE(
      differences(compiled(), documented(text.replace(at, row.size(), "| 32 | 8 | `owed` |")))
          .empty());
}

}  // namespace
}  // namespace weir::shm
