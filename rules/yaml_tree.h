// One YAML document as a bounded, read-only tree. yaml-cpp parses; this keeps what its own tree
// drops (places, duplicate keys) and refuses what a rules file has no use for.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "rules/reader.h"
#include "rules/source_text.h"

namespace weir {

inline constexpr std::size_t kYamlNodesMax = 200'000;  // with each alias counted as its whole copy
inline constexpr std::size_t kYamlDepthMax = 32;

enum class YamlKind { null, scalar, sequence, map };

struct YamlNode;
using YamlRef = std::shared_ptr<const YamlNode>;

struct YamlEntry {
  std::string key;
  Place key_place;
  YamlRef value;
};

// Aliases share the node that they name, so the tree is a graph without cycles.
struct YamlNode {
  YamlKind kind = YamlKind::null;
  Place place;
  std::string text;                // scalar
  std::vector<YamlRef> items;      // sequence
  std::vector<YamlEntry> entries;  // map
  std::size_t nodes = 1;           // in the whole subtree
  std::size_t height = 1;
};

// Null when the text is not one YAML document; the reporter then knows why. A duplicate key is
// reported and the rest read on. Throws nothing.
YamlRef parse_yaml(const SourceText& source, Reporter& reporter);

}  // namespace weir
