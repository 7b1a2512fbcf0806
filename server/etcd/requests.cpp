#include "server/etcd/client.h"

namespace weir::server::etcd {

std::string prefix_end(std::string prefix) {
  while (!prefix.empty()) {
    const auto last = static_cast<unsigned char>(prefix.back());
    if (last != 0xff) {
      prefix.back() = static_cast<char>(last + 1);
      return prefix;
    }
    prefix.pop_back();
  }
  return std::string(1, '\0');  // etcd's word for "to the end"
}

rpc::RangeRequest& add_get(rpc::TxnRequest& request, const std::string& key) {
  rpc::RangeRequest& range = *request.add_success()->mutable_request_range();
  range.set_key(key);
  return range;
}

rpc::RangeRequest& add_get_prefix(rpc::TxnRequest& request, const std::string& prefix) {
  rpc::RangeRequest& range = add_get(request, prefix);
  range.set_range_end(prefix_end(prefix));
  return range;
}

void add_put(rpc::TxnRequest& request, const std::string& key, const std::string& value,
             std::int64_t lease) {
  rpc::PutRequest& put = *request.add_success()->mutable_request_put();
  put.set_key(key);
  put.set_value(value);
  put.set_lease(lease);
}

void add_delete(rpc::TxnRequest& request, const std::string& key) {
  request.add_success()->mutable_request_delete_range()->set_key(key);
}

void require_created(rpc::TxnRequest& request, const std::string& key, std::int64_t revision) {
  rpc::Compare& compare = *request.add_compare();
  compare.set_target(rpc::Compare::CREATE);
  compare.set_key(key);
  compare.set_create_revision(revision);
}

void require_version(rpc::TxnRequest& request, const std::string& key, std::int64_t version) {
  rpc::Compare& compare = *request.add_compare();
  compare.set_target(rpc::Compare::VERSION);
  compare.set_key(key);
  compare.set_version(version);
}

}  // namespace weir::server::etcd
