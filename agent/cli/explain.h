// A limit in words: what it promises, how it stands, what happens without the agent.
#pragma once

#include <string>
#include <vector>

#include "agent/cli/context.h"

namespace weir::cli {

struct Paragraph {
  std::string title;
  std::string text;
  Style style = Style::plain;
};

// Escaped already. `others` are the limit's hosts, where the server could be asked.
std::vector<Paragraph> explain(const Context& context, const v1::LimitStatus& limit,
                               const std::vector<v1::HostReport>& others = {},
                               const std::string& own_host = {});

}  // namespace weir::cli
