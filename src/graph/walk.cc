#include "graph/walk.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/check.h"
#include "graph/input_layer.h"

namespace grouphead::graph {
namespace {

using NodePtr = std::shared_ptr<const Node>;

class Walker {
 public:
  Walker(std::string_view model, const std::vector<Symbol>& inputs,
         const std::map<SymbolKey, Symbol>& stand_ins)
      : model_(model), inputs_(inputs), stand_ins_(stand_ins) {}

  void visit(const Symbol& symbol) {
    const NodePtr& node = resolved(symbol).node();
    if (!seen_.insert(node.get()).second) return;
    indices_.try_emplace(node->layer.get(), static_cast<int>(indices_.size()));
    require_known_input(symbol);
    for (const Symbol& parent : parents(*node)) visit(parent);
    finished_.push_back(node);
  }

  Walk finish() {
    find_depths();
    Walk walk;
    std::stable_sort(by_first_mention_.begin(), by_first_mention_.end(),
                     [&](const NodePtr& a, const NodePtr& b) {
                       return node_depths_[a.get()] > node_depths_[b.get()];
                     });
    walk.nodes = by_first_mention_;
    walk.layers = sorted_layers();
    walk.has_branches = has_branches(walk.nodes);
    return walk;
  }

 private:
  const Symbol& resolved(const Symbol& symbol) const {
    const auto found = stand_ins_.find(key_of(symbol));
    return found == stand_ins_.end() ? symbol : found->second;
  }

  // Once for each use.
  std::vector<Symbol> parents(const Node& node) const {
    std::vector<Symbol> found;
    for (const auto* list : {&node.operands, &node.masks}) {
      for (const Operand& operand : *list) {
        if (operand.symbol() != nullptr) found.push_back(resolved(*operand.symbol()));
      }
    }
    return found;
  }

  void require_known_input(const Symbol& symbol) const {
    const Symbol& found = resolved(symbol);
    if (input_layer_of(found) == nullptr) return;
    if (std::find(inputs_.begin(), inputs_.end(), found) == inputs_.end()) {
      core::throw_config_error(model_, "outputs", "what the inputs alone lead to",
                               "a need of the input '" + found.name() + "'");
    }
  }

  int& depth_of(const NodePtr& node) {
    const auto [at, is_new] = node_depths_.try_emplace(node.get(), 0);
    if (is_new) by_first_mention_.push_back(node);
    return at->second;
  }

  // A node is deeper than all that use it; a layer is as deep as its deepest call so far.
  void find_depths() {
    for (auto node = finished_.rbegin(); node != finished_.rend(); ++node) {
      int& layer_depth = layer_depths_.try_emplace((*node)->layer.get(), 0).first->second;
      layer_depth = std::max(layer_depth, depth_of(*node));
      depth_of(*node) = layer_depth;
      for (const Symbol& parent : parents(**node)) {
        int& depth = depth_of(parent.node());
        depth = std::max(depth, layer_depth + 1);
      }
    }
    for (const Symbol& input : inputs_) {
      const Layer* layer = input.node()->layer.get();
      if (!layer_depths_.try_emplace(layer, 0).second) continue;  // some output needs it
      indices_[layer] = -1;
      depth_of(input.node());
    }
  }

  std::vector<std::shared_ptr<Layer>> sorted_layers() {
    std::vector<std::shared_ptr<Layer>> layers;
    std::set<const Layer*> listed;
    for (const NodePtr& node : by_first_mention_) {
      if (listed.insert(node->layer.get()).second) layers.push_back(node->layer);
    }
    const auto rank = [&](const std::shared_ptr<Layer>& layer) {
      return std::pair(-layer_depths_[layer.get()], indices_[layer.get()]);
    };
    std::stable_sort(layers.begin(), layers.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    return layers;
  }

  bool has_branches(const std::vector<NodePtr>& nodes) {
    std::set<int> depths;
    std::set<const Layer*> layers;
    for (const NodePtr& node : nodes) {
      if (!depths.insert(node_depths_[node.get()]).second) return true;
      if (!layers.insert(node->layer.get()).second) return true;
      if (parents(*node).size() > 1) return true;
    }
    return false;
  }

  std::string_view model_;
  const std::vector<Symbol>& inputs_;
  const std::map<SymbolKey, Symbol>& stand_ins_;
  std::set<const Node*> seen_;
  std::vector<NodePtr> finished_;                  // each after all that it needs
  std::unordered_map<const Layer*, int> indices_;  // when the walk met the layer first
  std::vector<NodePtr> by_first_mention_;
  std::unordered_map<const Node*, int> node_depths_;
  std::unordered_map<const Layer*, int> layer_depths_;
};

}  // namespace

Walk walk_graph(std::string_view model, const std::vector<Symbol>& inputs,
                const std::vector<Symbol>& outputs, const std::map<SymbolKey, Symbol>& stand_ins) {
  Walker walker(model, inputs, stand_ins);
  for (const Symbol& output : outputs) walker.visit(output);
  return walker.finish();
}

}  // namespace grouphead::graph
