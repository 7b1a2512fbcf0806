// Several servers with one quota, whose records a test reads in etcd.
#pragma once

#include "etcd/rpc.pb.h"
#include "lease/quota.h"
#include "tests/system/ha_support.h"
#include "weir/store/v1/quota.pb.h"

namespace weir::test {

using lease::Units;

struct QuotaBooks {
  Units total = 0, remaining = 0, consumed = 0, lost = 0;
  Units held = 0;  // as the records of the hosts say
  bool balance() const { return total > 0 && total == remaining + consumed + held + lost; }
};

// One quota `calls` for any key.
class HaQuotaTest : public HaTest {
 protected:
  explicit HaQuotaTest(Units total) : total_(total) {
    direct_ = true;
    more_namespace_ = "quotas: [{name: calls, total: " + std::to_string(total) + ", keys: any}], ";
    more_file_ = "store: {unsafe: true}\n";  // the directory may be one in memory
  }

  void start_agent(int i) {
    agents_.push_back(std::make_unique<Agent>(
        AgentOptions{.rules = rules_at(all_servers(), "h" + std::to_string(i))}));
    ASSERT_TRUE(agents_.back()->start());
  }
  // Of the one key that the test uses.
  QuotaBooks books() const {
    QuotaBooks books;
    std::uint64_t gen = 0;
    for (const std::string& text : values_below("/weir/quota/default/r/calls")) {
      store::v1::QuotaRecord record;
      EXPECT_TRUE(record.ParseFromString(text));
      gen = record.gen();
      books.total += record.total();
      books.remaining += record.remaining();
      books.consumed += record.consumed();
      books.lost += record.lost();
    }
    for (const std::string& text : values_below("/weir/quota/default/h/calls")) {
      store::v1::QuotaHolding holding;
      EXPECT_TRUE(holding.ParseFromString(text));
      for (const store::v1::QuotaChunk& chunk : holding.chunks())
        if (chunk.gen() == gen && chunk.state() == static_cast<int>(lease::ChunkState::open))
          books.held += chunk.granted() - chunk.spent();
    }
    return books;
  }
  static std::string text_of(const QuotaBooks& books) {
    return std::to_string(books.total) + " = " + std::to_string(books.remaining) + " remaining + " +
           std::to_string(books.consumed) + " consumed + " + std::to_string(books.held) +
           " held + " + std::to_string(books.lost) + " lost";
  }

  const Units total_;

 private:
  std::vector<std::string> values_below(const std::string& prefix) const {
    etcdserverpb::RangeResponse answer;
    std::vector<std::string> values;
    if (answer.ParseFromString(etcd_->ctl("get --prefix -w protobuf " + prefix)))
      for (const auto& kv : answer.kvs())
        values.push_back(kv.value());
    return values;
  }
};

}  // namespace weir::test
