// Between a quota book and a store: transactions and loads go there, what comes of them comes back.
// One thread, that of the book; the store's Post must lead to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lease/quota_book.h"
#include "server/store/store.h"

namespace weir::server {

class BookKeeper {
 public:
  // What is for hosts and operators.
  using OnReply = std::function<void(const lease::QuotaReply&)>;
  using OnResult = std::function<void(const lease::QuotaResult&)>;
  using OnPoke = std::function<void(const lease::QuotaPoke&)>;
  using Clock = std::function<lease::TimeNs()>;  // the book's

  BookKeeper(lease::QuotaBook& book, QuotaStore& store, std::string name_space, Clock clock);
  ~BookKeeper();

  // Makes known to the book whose silence it must watch; `ready` is called when it does. Before
  // that, a host that never comes back is not taken for lost.
  void start(std::function<void(std::string why)> ready);
  // After every call of the book: carries what it has to say.
  void pump();

  OnReply on_reply;
  OnResult on_result;
  OnPoke on_poke;
  std::function<void()> on_pumped;  // all of that is out

 private:
  struct Shared;
  void submit(std::shared_ptr<const lease::QuotaTransaction> transaction);
  void load(const std::string& key);
  void scan(const lease::QuotaScan& scan);

  // Answers may come after the keeper is gone.
  std::shared_ptr<Shared> shared_;
};

}  // namespace weir::server
