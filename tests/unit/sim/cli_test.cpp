// The program: what it accepts, prints and returns.
#include "sim/cli.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "sim/scenario.h"

namespace weir::sim {
namespace {

struct Ran {
  int code = 0;
  std::string out, err;
};

Ran run(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  Ran ran;
  ran.code = run_program(arguments, out, err);
  ran.out = out.str();
  ran.err = err.str();
  return ran;
}

TEST(Program, ListNamesEveryScenarioAndEveryRuleThatCanBeTakenOut) {
  const Ran ran = run({"list"});

  EXPECT_EQ(ran.code, 0);
  for (const Scenario& scenario : scenarios())
    EXPECT_NE(ran.out.find("  " + scenario.name + " "), std::string::npos) << scenario.name;
  for (const std::string& mutant : mutant_names())
    EXPECT_NE(ran.out.find("  " + mutant + "\n"), std::string::npos) << mutant;
}

TEST(Program, ARunIsPrintedAsJson) {
  const Ran ran = run({"run", "-s", "ranks", "--seed", "3", "--seconds", "20", "-q", "-o", "json"});

  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json.at("scenario"), "ranks");
  EXPECT_EQ(json.at("seed"), 3);
  EXPECT_EQ(json.at("ok"), true);
  EXPECT_LE(json.at("limits").at(0).at("over_admitted"), 0);
  for (const char* name : {"use", "jain", "unfair", "convergence_refreshes", "peak_of_bound"})
    EXPECT_TRUE(json.at("limits").at(0).contains(name)) << name;
  EXPECT_GT(json.at("messages_per_s"), 0);
}

TEST(Program, ABrokenRuleIsAnExitCode) {
  const Ran ran = run({"search", "-s", "calm-even", "--seeds", "1..3", "--seconds", "5", "-q",
                       "--mutant", "book.forget_offers"});

  EXPECT_EQ(ran.code, 1);
  EXPECT_NE(ran.out.find("weir-sim run --scenario calm-even --seed 1"), std::string::npos);
  EXPECT_EQ(run({"search", "-s", "calm-even", "--seeds", "1..3", "--seconds", "5", "-q"}).code, 0);
}

TEST(Program, FiguresSetEachValueAgainstItsBar) {
  const Ran ran = run({"figures", "--only", "calm-even", "--runs", "2", "-o", "json"});

  ASSERT_EQ(ran.code, 0) << ran.out;
  const auto rows = nlohmann::json::parse(ran.out);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows.at(0).at("runs"), 2);
  EXPECT_EQ(rows.at(0).at("bar"), 99);
  EXPECT_EQ(rows.at(0).at("reached"), true);
}

TEST(Program, WhatItDoesNotKnowItRefuses) {
  EXPECT_EQ(run({"run", "-s", "no-such"}).code, 2);
  EXPECT_EQ(run({"run", "--mutant", "no.such"}).code, 2);
  EXPECT_EQ(run({"dance"}).code, 2);
  EXPECT_EQ(run({}).code, 2);
}

}  // namespace
}  // namespace weir::sim
