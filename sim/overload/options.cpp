#include "sim/overload/options.h"

#include <charconv>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

namespace weir::overload {
namespace {

using MendField = bool adaptive::Mends::*;
const std::vector<std::pair<std::string, MendField>> kMends = {
    {"freeze_baseline", &adaptive::Mends::freeze_baseline},
    {"fractional_rt", &adaptive::Mends::fractional_rt},
    {"second_rates", &adaptive::Mends::second_rates},
    {"refresh_hold", &adaptive::Mends::refresh_hold},
    {"sane_cold_start", &adaptive::Mends::sane_cold_start},
    {"errors_apart", &adaptive::Mends::errors_apart},
    {"fast_signal", &adaptive::Mends::fast_signal},
    {"surge_gate", &adaptive::Mends::surge_gate},
    {"headroom", &adaptive::Mends::headroom},
    {"use_servo", &adaptive::Mends::use_servo},
};

bool number(std::string_view text, double low, double high, double& out) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  if (!(value >= low && value <= high)) return false;
  out = value;
  return true;
}

std::vector<std::string_view> pieces(std::string_view text) {
  std::vector<std::string_view> out;
  while (true) {
    const std::size_t comma = text.find(',');
    out.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

template <class T>
bool numbers(std::string_view text, double low, double high, std::vector<T>& out) {
  out.clear();
  for (const std::string_view piece : pieces(text)) {
    double value = 0.0;
    if (!number(piece, low, high, value)) return false;
    out.push_back(static_cast<T>(value));
  }
  return true;
}

bool take_arms(std::string_view text, std::vector<NamedArm>& out) {
  out.clear();
  for (const std::string_view piece : pieces(text)) {
    bool found = false;
    for (const NamedArm& arm : all_arms()) {
      if (arm.name != piece) continue;
      out.push_back(arm);
      found = true;
    }
    if (!found) return false;
  }
  return true;
}

bool take_service(std::string_view text, Scenario& scenario) {
  if (text == "exponential") return scenario.service = Service::exponential, true;
  if (text == "lognormal") return scenario.service = Service::lognormal, true;
  if (text == "constant") return scenario.service = Service::constant, true;
  if (text == "bimodal") return scenario.service = Service::bimodal, true;
  if (text != "mixed") return false;
  scenario.service = Service::mixed;
  scenario.work_ns = 2 * kMs;
  scenario.pause_ns = 20 * kMs;
  return true;
}

bool take_value(Options& options, std::string_view name, std::string_view text) {
  Scenario& s = options.scenario;
  double value = 0.0;
  const auto in = [&](double low, double high) { return number(text, low, high, value); };
  const auto ms = [&value](TimeNs& out) { return out = static_cast<TimeNs>(value * 1e6), true; };
  if (name == "--seed") return in(0, 1e15) && (s.seed = static_cast<std::uint64_t>(value), true);
  if (name == "--seeds") return in(1, 1000) && (options.seeds = static_cast<int>(value), true);
  if (name == "--cores") return in(1, 1024) && (s.cores = static_cast<int>(value), true);
  if (name == "--base-load") return in(0.01, 0.99) && (s.base_load = value, true);
  if (name == "--work-ms") return in(0.01, 1e4) && ms(s.work_ns);
  if (name == "--pause-ms") return in(0, 1e5) && ms(s.pause_ns);
  if (name == "--refuse-ms") return in(0, 100) && ms(s.refuse_ns);
  if (name == "--deadline-ms") return in(0.1, 1e6) && ms(s.deadline_ns);
  if (name == "--patience-ms") return in(1, 1e6) && ms(s.patience_ns);
  if (name == "--failing") return in(0, 0.99) && (s.failing = value, true);
  if (name == "--neighbour") return in(0, 0.9) && (s.neighbour = value, true);
  if (name == "--fixed")
    return in(1, 60000) &&
           (s.fixed_limit = static_cast<std::uint32_t>(value), options.fixed_given = true);
  if (name == "--processes") return numbers(text, 1, 1024, options.processes);
  if (name == "--loads") return numbers(text, 0.01, 50, options.loads);
  if (name == "--shares") return numbers(text, 0, 1, options.shares);
  if (name == "--arms") return take_arms(text, options.arms);
  if (name == "--service") return take_service(text, s);
  if (name == "--without") return take_out(s.shedder.mends, std::string(text));
  if (name == "--mix") {
    std::vector<double> mix;
    if (!numbers(text, 0, 1, mix) || mix.size() != kClasses) return false;
    std::copy(mix.begin(), mix.end(), s.mix.begin());
    return true;
  }
  return false;
}

}  // namespace

const std::vector<NamedArm>& all_arms() {
  static const std::vector<NamedArm> kArms = {
      {"none", ArmKind::none},         {"fixed", ArmKind::fixed},
      {"ours", ArmKind::ours},         {"kratos", ArmKind::kratos},
      {"gradient", ArmKind::gradient}, {"ours_gradient", ArmKind::gradient_host},
  };
  return kArms;
}

const std::vector<std::string>& mend_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, field] : kMends)
      names.push_back(name);
    return names;
  }();
  return kNames;
}

bool take_out(adaptive::Mends& mends, const std::string& name) {
  for (const auto& [known, field] : kMends)
    if (known == name) return mends.*field = false, true;
  return false;
}

std::optional<Options> parse_options(int argc, char** argv, std::string& error) {
  Options options;
  options.arms = all_arms();
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--json") {
      options.json = true;
    } else if (name == "--fifo") {
      options.scenario.fifo = true;
    } else if (name == "--mends") {
      options.mends = true;
    } else if (i + 1 < argc && take_value(options, name, argv[i + 1])) {
      ++i;
    } else {
      error = "not understood: " + std::string(name);
      return std::nullopt;
    }
  }
  return options;
}

const char* usage_text() {
  return "usage: weir-sim overload [--json] [--seed N] [--seeds N] [--processes 1,8,32]\n"
         "         [--loads 1,2,5,10] [--arms none,fixed,ours,kratos,gradient,ours_gradient]\n"
         "         [--cores 8] [--base-load 0.5] [--service "
         "exponential|lognormal|constant|bimodal|mixed]\n"
         "         [--fifo] [--work-ms 10] [--pause-ms 0] [--refuse-ms 0.1] [--deadline-ms 100]\n"
         "         [--patience-ms 1000] [--mix A,B,C,D] [--shares 0.05,0.1,...] [--fixed N]\n"
         "         [--failing 0] [--neighbour 0] [--mends] [--without MEND]\n"
         "One seed gives the same result each time. --mends adds ours with each mend taken out.\n";
}

}  // namespace weir::overload
