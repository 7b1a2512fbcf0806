#include "agent/upstream/saved_leases.h"

#include <charconv>
#include <concepts>

namespace weir::agent {

namespace {

constexpr std::string_view kHead = "weir-leases 2\n";
constexpr std::string_view kEnd = "end\n";

template <std::integral Number>
void put(std::string& out, Number number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), number).ptr;
  out.append(digits, end);
  out.push_back(' ');
}

// Words of a line, from the left.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}

  template <std::integral Number>
  Words& operator>>(Number& number) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
    if (error != std::errc{} || end == rest_.data() + rest_.size() || *end != ' ') {
      ok_ = false;
      return *this;
    }
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()) + 1);
    return *this;
  }
  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

std::string to_text(const SavedLeases& saved) {
  std::string out(kHead);
  out.reserve(256 + saved.desk.held.size() * 160);
  const lease::DeskState& desk = saved.desk;
  put(out, saved.counters_id);
  put(out, saved.heard_boot_ns);
  put(out, saved.ttl_ns);
  put(out, desk.agent_epoch);
  put(out, desk.hello_no);
  put(out, desk.session);
  put(out, desk.accepted_seq);
  put(out, desk.epoch_seen);
  out += saved.boot_id + "\n";
  for (const lease::DeskState::Held& held : desk.held) {
    put(out, held.terms.rate);
    put(out, held.terms.burst);
    put(out, held.terms.tail_rate);
    put(out, held.terms.tail_burst);
    put(out, held.granted.rate);
    put(out, held.granted.burst);
    put(out, held.granted.tail_rate);
    put(out, held.granted.tail_burst);
    put(out, held.proof);
    put(out, held.end_ns);
    put(out, held.tail_end_ns);
    put(out, held.hosts);
    out += held.name + "\n";
  }
  return out += kEnd;
}

std::optional<SavedLeases> parse_saved_leases(std::string_view text) {
  if (!text.starts_with(kHead) || !text.ends_with(kEnd)) return std::nullopt;
  text.remove_prefix(kHead.size());
  text.remove_suffix(kEnd.size());
  SavedLeases saved;
  bool first = true;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    Words words(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (first) {
      lease::DeskState& desk = saved.desk;
      words >> saved.counters_id >> saved.heard_boot_ns >> saved.ttl_ns >> desk.agent_epoch >>
          desk.hello_no >> desk.session >> desk.accepted_seq >> desk.epoch_seen;
      saved.boot_id = words.rest();
    } else {
      lease::DeskState::Held held;
      words >> held.terms.rate >> held.terms.burst >> held.terms.tail_rate >>
          held.terms.tail_burst >> held.granted.rate >> held.granted.burst >>
          held.granted.tail_rate >> held.granted.tail_burst >> held.proof >> held.end_ns >>
          held.tail_end_ns >> held.hosts;
      held.name = words.rest();
      saved.desk.held.push_back(std::move(held));
    }
    if (!words.ok()) return std::nullopt;
    first = false;
  }
  if (first) return std::nullopt;
  return saved;
}

}  // namespace weir::agent
