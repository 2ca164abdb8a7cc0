#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace graph {
struct Node;
}

/// A tensor that is not computed yet: an input of a model, or what a layer makes of other symbols.
/// A cheap value. Source: keras.KerasTensor.
class Symbol {
 public:
  Symbol() = default;  ///< no symbol
  Symbol(std::shared_ptr<const graph::Node> node, int output);

  bool has_value() const noexcept { return node_ != nullptr; }
  /// The batch first, -1 where a size is not known.
  const Shape& shape() const;
  Dtype dtype() const;
  /// Of the layer that makes it.
  const std::string& name() const;

  const std::shared_ptr<const graph::Node>& node() const noexcept { return node_; }
  int output() const noexcept { return output_; }  ///< which of the layer's outputs
  friend bool operator==(const Symbol&, const Symbol&) = default;

 private:
  std::shared_ptr<const graph::Node> node_;
  int output_ = 0;
};

struct InputConfig {
  std::vector<Index> shape{};  ///< without the batch; -1: unknown
  Index batch_size = -1;
  Dtype dtype = Dtype::f32;
  std::string name = "input_layer";
  bool optional = false;  ///< the model may be called without it
};

/// An input of a model to be. Errors: ShapeError. Source: keras.Input.
Symbol input(const InputConfig& config);

class Outputs;

/// What stands for a tensor in a layer's call: a symbol, a tensor of fixed numbers, or nothing.
class Operand {
 public:
  Operand() = default;
  Operand(std::nullptr_t) {}    // NOLINT(google-explicit-constructor)
  Operand(const Outputs& one);  // NOLINT(google-explicit-constructor)
  Operand(Symbol symbol);       // NOLINT(google-explicit-constructor)
  Operand(Tensor constant);     // NOLINT(google-explicit-constructor)

  bool has_value() const noexcept { return symbol() != nullptr || constant() != nullptr; }
  const Symbol* symbol() const noexcept { return symbol_.has_value() ? &symbol_ : nullptr; }
  const Tensor* constant() const noexcept { return constant_.get(); }

 private:
  Symbol symbol_;
  std::shared_ptr<const Tensor> constant_;
};

/// The operands of a call in the order of Layer::input_names().
class Operands {
 public:
  Operands(Symbol one) : list_{std::move(one)} {}  // NOLINT(google-explicit-constructor)
  Operands(const Outputs& one);                    // NOLINT(google-explicit-constructor)
  Operands(std::initializer_list<Operand> list) : list_(list) {}
  Operands(std::vector<Operand> list)
      : list_(std::move(list)) {}  // NOLINT(google-explicit-constructor)

  const std::vector<Operand>& list() const noexcept { return list_; }

 private:
  std::vector<Operand> list_;
};

/// A call's arguments by Keras's keywords: operands (`attention_mask`), `training`, and what the
/// layer reads as CallArguments (`use_causal_mask`).
class Keywords {
 public:
  struct Entry {
    Entry(std::string key, Symbol symbol);
    Entry(std::string key, Tensor constant);
    Entry(std::string key, Operand operand);
    Entry(std::string key, ConfigValue setting);
    template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
    Entry(std::string key, T value) : Entry(std::move(key), ConfigValue(value)) {}

    std::string name;
    Operand operand;                     ///< where there is no setting
    std::optional<ConfigValue> setting;  ///< what is no operand
  };

  Keywords() = default;
  Keywords(std::initializer_list<Entry> entries) : entries_(entries) {}
  void add(Entry entry) { entries_.push_back(std::move(entry)); }
  const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  std::vector<Entry> entries_;
};

/// What a call makes; one output is itself a Symbol.
class Outputs {
 public:
  explicit Outputs(std::vector<Symbol> symbols) : symbols_(std::move(symbols)) {}

  /// Errors: ConfigError when there are several.
  operator Symbol() const;  // NOLINT(google-explicit-constructor)
  const Symbol& operator[](std::size_t i) const { return symbols_.at(i); }
  std::size_t size() const noexcept { return symbols_.size(); }
  const std::vector<Symbol>& symbols() const noexcept { return symbols_; }

 private:
  std::vector<Symbol> symbols_;
};

/// Puts operands through a layer. A layer may be connected any number of times: the calls share its
/// parameters, which the model makes. An attention layer given one operand attends to itself.
/// Errors: ShapeError for shapes that the layer cannot take; ConfigError for keywords that it does
/// not know. Source: a Keras layer called on keras.KerasTensor.
Outputs connect(const std::shared_ptr<Layer>& layer, const Operands& operands,
                const Keywords& keywords = {});

/// A shared layer that is called on symbols: `layer<Dense>(DenseConfig{.units = 8})(x)`.
template <class L>
class SharedLayer {
 public:
  explicit SharedLayer(std::shared_ptr<L> layer) : layer_(std::move(layer)) {}

  Outputs operator()(const Operands& operands, const Keywords& keywords = {}) const {
    return connect(layer_, operands, keywords);
  }
  L& operator*() const noexcept { return *layer_; }
  L* operator->() const noexcept { return layer_.get(); }
  template <class Base, std::enable_if_t<std::is_convertible_v<L*, Base*>, int> = 0>
  operator std::shared_ptr<Base>() const {  // NOLINT(google-explicit-constructor)
    return layer_;
  }

 private:
  std::shared_ptr<L> layer_;
};

/// A layer made for models, from what its constructor takes.
template <class L, class... Args>
SharedLayer<L> layer(Args&&... args) {
  return SharedLayer<L>(std::make_shared<L>(std::forward<Args>(args)...));
}

/// The same from a configuration in braces: `layer<Dense>({.units = 8})`.
template <class L>
SharedLayer<L> layer(typename L::Config&& config) {
  return SharedLayer<L>(std::make_shared<L>(std::move(config)));
}

}  // namespace grouphead
#pragma GCC visibility pop
