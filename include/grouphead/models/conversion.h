#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grouphead/layers/multi_head_attention.h"
#include "grouphead/models/model.h"
#include "grouphead/models/models.h"
#include "grouphead/models/transformer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What a new key/value head is made of: the r = Hkv / (new Hkv) old heads that serve the same
/// query heads.
enum class HeadPooling : int {
  mean,   ///< their mean
  first,  ///< the first of them
  random  ///< nothing: the layer's initializers
};
/// `mean`, `first`, `random`. Errors: ConfigError.
HeadPooling head_pooling_from_name(std::string_view name);

struct HeadConversion {
  Index num_key_value_heads = 1;  ///< of the converted layers; divides what they have
  HeadPooling pooling = HeadPooling::mean;
  std::uint64_t seed = 0;  ///< of random heads
};

/// A layer with fewer key/value heads: MultiHeadAttention and GroupQueryAttention become a built
/// GroupQueryAttention of the same name. Kernels and biases of keys and values are pooled, all
/// others stay; with as many heads as before nothing is lost.
///
/// Errors   ConfigError for a layer of another class or not built, a number of heads that does not
///          divide the layer's, and a MultiHeadAttention that GroupQueryAttention cannot be:
///          value_dim other than key_dim, attention axes other than 1, output_shape of several axes
/// Source   Ainslie et al. 2023, arXiv:2305.13245, section 2.1
std::shared_ptr<GroupQueryAttention> convert_heads(const Layer& attention,
                                                   const HeadConversion& conversion);

/// A model with all its attention layers of these two classes converted, those of models inside it
/// too; all other weights are copied. GroupQueryAttention layers that have as many key/value heads
/// already stay. A MultiHeadAttention's explicit query_mask, which has no effect, is left out.
///
/// Errors   ConfigError for a model that is not built or has nothing to convert, and for layers
///          that cannot be converted (one error lists them all); ShapeError where the inputs are
///          none that GroupQueryAttention takes: of a rank other than 3, query and value of unequal
///          width
std::shared_ptr<Model> convert_heads(const Model& model, const HeadConversion& conversion);
std::unique_ptr<LanguageModel> convert_heads(const LanguageModel& model,
                                             const HeadConversion& conversion);
/// All layers of the model alike; gains that keys' heads have of their own are pooled too.
std::unique_ptr<TransformerModel> convert_heads(const TransformerModel& model,
                                                const HeadConversion& conversion);

/// What became of one layer.
struct ConvertedLayer {
  std::string path;  ///< names of the models around it and its own: `encoder/attention`
  Index num_query_heads = 0;
  Index num_key_value_heads_before = 0;
  Index num_key_value_heads = 0;
  double error = 0;              ///< |y' - y| / |y|, both on what the layer before was given
  Index cache_bytes_before = 0;  ///< of keys and values, for each token
  Index cache_bytes = 0;
};

struct ConversionReport {
  std::vector<ConvertedLayer> layers{};
  double output_error = 0;  ///< |y' - y| / |y| of all outputs of the models, as one vector

  Index cache_bytes_before() const noexcept;
  Index cache_bytes() const noexcept;
  /// A table.
  std::string to_string() const;
};

/// Runs a model and what convert_heads() made of it on the same inputs, and compares.
/// Errors: what the models throw; ConfigError for models that are not alike.
ConversionReport compare_heads(Context& ctx, const Model& before, const Model& after,
                               const std::vector<Tensor>& inputs);
/// Shapes: tokens [B, T]
ConversionReport compare_heads(Context& ctx, const LanguageModel& before,
                               const LanguageModel& after, const Tensor& tokens);
ConversionReport compare_heads(Context& ctx, const TransformerModel& before,
                               const TransformerModel& after, const Tensor& tokens);

/// Inputs to try a model with: normal numbers, integers below the smallest vocabulary of its
/// Embedding layers, true; whole numbers also in a floating-point input that an Embedding looks up.
/// Where the batch is unknown it is 2, other sizes 16.
std::vector<Tensor> random_inputs(const Model& model, std::uint64_t seed);

}  // namespace grouphead
#pragma GCC visibility pop
