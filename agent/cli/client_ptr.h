#pragma once

#include <weir/weir.h>

#include <memory>

namespace weir::cli {

struct CloseClient {
  void operator()(weir_client* client) const noexcept { weir_close(client); }
};
using ClientPtr = std::unique_ptr<weir_client, CloseClient>;

}  // namespace weir::cli
