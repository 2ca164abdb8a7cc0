#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct RescalingConfig {
  /// A number, nested lists, or Keras's envelope of an array; it repeats along the input's axes.
  ConfigValue scale = 1.0;
  ConfigValue offset = 0.0;
  std::string name = "rescaling";
  DtypePolicy dtype{};
};

/// y = x scale + offset, of any shape and type; y is floating. Hands the mask on.
/// Errors: ConfigError for lists that are no array; ShapeError where they do not fit x.
/// Source: keras.layers.Rescaling.
class Rescaling final : public Layer {
 public:
  using Config = RescalingConfig;
  explicit Rescaling(const RescalingConfig& config = {});
  std::string_view class_name() const override { return "Rescaling"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  RescalingConfig config_;
  Tensor scale_, offset_;  // f64
};

struct NormalizationConfig {
  std::vector<Index> axis{-1};  ///< each index along these has its own mean; empty: one for all
  /// Both or none: numbers or lists that repeat along the axes. None: parameters, as a file or
  /// adapt() gives them.
  ConfigValue mean{};
  ConfigValue variance{};
  bool invert = false;
  std::string name = "normalization";
  DtypePolicy dtype{};
};

/// y = (x - mean) / max(sqrt(variance), 1e-7), or with invert the other way. Means and variances
/// are no weights that are trained. Hands the mask on.
/// Errors: ConfigError for a mean without variance or of another shape; ShapeError.
/// Source: keras.layers.Normalization.
class Normalization final : public Layer {
 public:
  using Config = NormalizationConfig;
  explicit Normalization(const NormalizationConfig& config = {});
  std::string_view class_name() const override { return "Normalization"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// Takes mean and variance from x, whose axes are those of build(), or build it. Errors:
  /// ShapeError; ConfigError where the configuration has them.
  void adapt(Context& ctx, const Tensor& x);

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor repeated(Context& ctx, ConstView numbers) const;
  Tensor deviation(Context& ctx) const;
  Tensor mean(Context& ctx) const;

  NormalizationConfig config_;
  Shape kept_;                          // the input's shape with 1 on all axes but `axis`
  Shape own_;                           // of the parameters
  Tensor given_mean_, given_variance_;  // f64, of kept_'s rank
  std::unique_ptr<Parameter> mean_, variance_, count_;
};

enum class EncodingMode : int { one_hot, multi_hot, count };

struct CategoryEncodingConfig {
  Index num_tokens = 0;
  EncodingMode output_mode = EncodingMode::multi_hot;
  std::string name = "category_encoding";
  DtypePolicy dtype{};
};

/// Rows of num_tokens numbers for categories: one_hot for each; multi_hot and count for those along
/// the second axis (of rank 1: the first): whether, or how often, each is there. Categories outside
/// [0, num_tokens) give zeros.
///
/// Operands inputs [B] or [B, N], any type; count_weights of its shape (count only)
/// Outputs  one_hot: [B, N, num_tokens], without N = 1; else [B, num_tokens]
/// Errors   ConfigError for num_tokens below 1; ShapeError
/// Source: keras.layers.CategoryEncoding.
class CategoryEncoding final : public Layer {
 public:
  using Config = CategoryEncodingConfig;
  explicit CategoryEncoding(const CategoryEncodingConfig& config);
  std::string_view class_name() const override { return "CategoryEncoding"; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  CategoryEncodingConfig config_;
};

}  // namespace grouphead
#pragma GCC visibility pop
