#include "rules/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "rules/text.h"

namespace weir {
namespace {

// Leaves yaml-cpp from inside an event; never leaves this file.
struct Stop {
  Place place;
  std::string message;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const SourceText& source, Reporter& reporter)
      : source_(source), reporter_(reporter) {}

  YamlRef root() const { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (!started_) {
      started_ = true;
      return;
    }
    const bool marker = source_.line(index(mark.line)).starts_with("---");
    throw Stop{place(mark), marker ? "a second document starts here; a rules file is one document"
                                   : "text after the end of the document"};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) throw Stop{place(mark), "a key is missing before ':'"};
    add(make(YamlKind::null, place(mark)), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) throw Stop{place(mark), "an alias cannot be a key"};
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Stop{place(mark), "an alias inside the value that it stands for"};
    }
    const YamlRef& node = found->second;
    count(node->nodes, place(mark));
    check_depth(node->height, place(mark));
    attach(node);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_tag(tag, mark);
    if (tag == "!") check_quotes_end(mark);
    if (expects_key()) {
      add_key(value, place(mark));
      return;
    }
    auto node = make(YamlKind::scalar, place(mark));
    node->text = value;
    add(node, anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlKind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlKind::map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  Place place(const YAML::Mark& mark) const {
    return mark.is_null() ? Place{} : source_.place(index(mark.line), index(mark.column));
  }

 private:
  struct Frame {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor = 0;
    std::optional<std::pair<std::string, Place>> key;  // of a map, whose value comes next
    std::unordered_map<std::string, int> key_lines;
  };

  static std::size_t index(int n) { return n < 0 ? 0 : static_cast<std::size_t>(n); }

  bool expects_key() const {
    return !frames_.empty() && frames_.back().node->kind == YamlKind::map && !frames_.back().key;
  }

  void count(std::size_t nodes, Place where) {
    nodes_ += nodes;
    if (nodes_ > kYamlNodesMax) {
      throw Stop{where, "the file has more than 200000 values, counting each alias as its copy"};
    }
  }

  void check_depth(std::size_t height, Place where) const {
    if (frames_.size() + height > kYamlDepthMax) {
      throw Stop{where, "values are nested deeper than 32"};
    }
  }

  std::shared_ptr<YamlNode> make(YamlKind kind, Place where) {
    count(1, where);
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->place = where;
    return node;
  }

  void refuse_tag(const std::string& tag, const YAML::Mark& mark) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Stop{place(mark), "a YAML tag (!...); rules files have none"};
  }

  // yaml-cpp takes the end of the file for a closing quote.
  void check_quotes_end(const YAML::Mark& mark) const {
    std::string_view rest = source_.from(index(mark.line), index(mark.column));
    while (rest.starts_with('&') || rest.starts_with('!')) {
      rest.remove_prefix(std::min(rest.find_first_of(" \r\n"), rest.size()));
      rest.remove_prefix(std::min(rest.find_first_not_of(" \r\n"), rest.size()));
    }
    if (rest.empty() || (rest.front() != '"' && rest.front() != '\'')) return;
    const char quote_mark = rest.front();
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if (quote_mark == '"' && rest[i] == '\\') {
        ++i;
      } else if (rest[i] == quote_mark) {
        if (quote_mark == '"' || i + 1 == rest.size() || rest[i + 1] != '\'') return;
        ++i;
      }
    }
    throw Stop{place(mark), "the quotes that open here are never closed"};
  }

  void add_key(const std::string& key, Place where) {
    count(1, where);
    Frame& frame = frames_.back();
    if (key == "<<") {
      throw Stop{where,
                 "merge keys (<<) are not supported; write the fields out, or use an alias "
                 "for a whole value"};
    }
    const auto [first, fresh] = frame.key_lines.try_emplace(key, where.line);
    if (!fresh) {
      reporter_.error(where, "the key " + quote(key) +
                                 " stands twice in one map; the first is on "
                                 "line " +
                                 std::to_string(first->second));
    }
    frame.key.emplace(key, where);
  }

  void open(YamlKind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_tag(tag, mark);
    if (expects_key()) throw Stop{place(mark), "a key must be a single word, not a list or a map"};
    check_depth(1, place(mark));
    Frame frame;
    frame.node = make(kind, place(mark));
    frame.anchor = anchor;
    frames_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    add(frame.node, frame.anchor);
  }

  void add(const std::shared_ptr<YamlNode>& node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    attach(node);
  }

  void attach(const YamlRef& node) {
    if (frames_.empty()) {
      root_ = node;
      return;
    }
    Frame& frame = frames_.back();
    YamlNode& parent = *frame.node;
    parent.nodes += node->nodes;
    parent.height = std::max(parent.height, node->height + 1);
    if (parent.kind == YamlKind::sequence) {
      parent.items.push_back(node);
      return;
    }
    parent.entries.push_back({std::move(frame.key->first), frame.key->second, node});
    frame.key.reset();
  }

  const SourceText& source_;
  Reporter& reporter_;
  bool started_ = false;
  std::size_t nodes_ = 0;
  std::vector<Frame> frames_;
  std::unordered_map<YAML::anchor_t, YamlRef> anchors_;
  YamlRef root_;
};

// yaml-cpp's words, with what usually lies behind them.
std::string explain(const std::string& message) {
  struct Hint {
    std::string_view message;
    std::string_view hint;
  };
  static constexpr std::array<Hint, 8> kHints{{
      {"illegal map value",
       "a ': ' where none can be; is the indentation right, and is a value "
       "that holds ': ' in quotes?"},
      {"end of map not found", "is the indentation the same as that of the lines above?"},
      {"end of sequence not found", "is each '-' indented like the one above?"},
      {"end of sequence flow not found", "is a ']' missing?"},
      {"end of map flow not found", "is a '}' missing?"},
      {"illegal flow end", "a ']' or '}' that closes nothing, or the wrong kind of bracket"},
      {"unknown token", "a value that starts with @, `, % or a comma needs quotes"},
      {"illegal block entry", "a '- ' where no list can start; is the indentation right?"},
  }};
  for (const Hint& hint : kHints) {
    if (message == hint.message) return message + ": " + std::string{hint.hint};
  }
  return message;
}

}  // namespace

YamlRef parse_yaml(const SourceText& source, Reporter& reporter) {
  TreeBuilder builder{source, reporter};
  try {
    std::istringstream stream{std::string{source.text()}};
    YAML::Parser parser{stream};
    if (parser.HandleNextDocument(builder)) {
      parser.HandleNextDocument(builder);  // a second document makes the builder stop
    }
    if (builder.root() == nullptr) reporter.error({}, "the file is empty; it needs 'version: 1'");
    return builder.root();
  } catch (const Stop& stop) {
    reporter.error(stop.place, stop.message);
  } catch (const YAML::Exception& e) {
    reporter.error(builder.place(e.mark), "not valid YAML: " + explain(e.msg));
  } catch (const std::exception& e) {
    reporter.error({}, std::string{"not readable as YAML: "} + e.what());
  }
  return nullptr;
}

}  // namespace weir
