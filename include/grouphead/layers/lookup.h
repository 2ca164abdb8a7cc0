#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Texts as a tensor, which is how StringLookup, TextVectorization and models with string inputs
/// take them: u8 [..., N], the UTF-8 bytes of each text with zeros behind, N those of the longest.
/// `shape` of the texts; without it [B, 1], as Keras's examples have it.
/// Errors: ShapeError for another number of texts; ConfigError for a text with a zero byte.
Tensor text_tensor(std::span<const std::string> texts, const std::optional<Shape>& shape = {});
/// The texts of such a tensor. Errors: ShapeError.
std::vector<std::string> texts_of(const Tensor& tensor);

enum class LookupMode : int { integers, one_hot, multi_hot, count, tf_idf };

/// What IntegerLookup and StringLookup share. Token is std::int64_t or std::string.
template <class Token>
struct LookupConfig {
  std::optional<Index> max_tokens{};  ///< of the vocabulary, with mask and unknown tokens
  Index num_oov_indices = 1;          ///< places of unknown tokens
  bool hashes_integers = false;       ///< which of these an integer has: by a hash, not a remainder
  std::optional<std::array<std::int64_t, 2>> salt{};  ///< a key of that hash, and of that of texts
  std::optional<Token> mask_token{};                  ///< integers: becomes 0; else it is left out
  std::optional<Token> oov_token{};                   ///< none: -1 or "[UNK]"
  std::vector<Token> vocabulary{};    ///< none: set_vocabulary(), or the assets of a file
  std::vector<double> idf_weights{};  ///< tf_idf: one for each token of the vocabulary
  bool invert = false;                ///< from places (i64) to tokens
  LookupMode output_mode = LookupMode::integers;
  bool pad_to_max_tokens = false;          ///< rows of max_tokens numbers, whatever the vocabulary
  std::optional<Index> vocabulary_size{};  ///< of a vocabulary that is still to be set
  std::string name{};                      ///< empty: the class's
  bool trainable = true;                   ///< which Keras writes, and which changes nothing
};
using IntegerLookupConfig = LookupConfig<std::int64_t>;
using StringLookupConfig = LookupConfig<std::string>;

namespace nn {
template <class Token>
class Vocabulary;
}  // namespace nn

namespace detail {

/// A layer whose output shapes follow from the types of its inputs too, which a symbol's call tells
/// it first.
class ReadsTypes {
 public:
  virtual void read_types(std::span<const Dtype> inputs) = 0;

 protected:
  ~ReadsTypes() = default;
};

}  // namespace detail

/// A layer with a vocabulary, whose outputs are places in it or rows of numbers for places.
/// Configurations hold the vocabulary. Keras's files have one that was adapted as a text beside the
/// configuration: set_vocabulary_lines() is what reads it.
class LookupLayer : public Layer {
 public:
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  virtual bool has_vocabulary() const = 0;
  /// Makes a vocabulary of the tokens in `data`, the most frequent first, up to max_tokens; of
  /// equal ones the last in the order of their bytes. Each row is a document, and of a list [N]
  /// each token, for tf_idf's weights: ln(1 + documents / (1 + documents that have the token)).
  ///
  /// data     what forward() takes: texts (text_tensor()), or integers
  /// Errors   ConfigError for a vocabulary in the configuration, and for data without tokens;
  ///          ShapeError
  /// Source: keras.layers.StringLookup.adapt.
  virtual void adapt(Context& ctx, const Tensor& data) = 0;
  /// Tokens in the order of their places. Errors: ConfigError for lines that are none.
  virtual void set_vocabulary_lines(const std::vector<std::string>& lines) = 0;

 protected:
  LookupLayer(const std::string& name, LookupMode mode, bool trainable);
  LookupMode output_mode() const noexcept { return mode_; }
  Shape looked_up_shape(const Shape& tokens, Index depth) const;
  /// What the mode makes of places (i64).
  Value result(Context& ctx, const Tensor& places, Index depth, std::span<const double> idf_weights,
               std::unique_ptr<Saved>* saved) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  LookupMode mode_;
};

/// Integers by their places in a vocabulary: the mask token first (0, with output_mode integers),
/// then num_oov_indices places of unknown integers (x mod num_oov_indices), then the vocabulary.
///
/// Outputs  integers: i64 of x's shape; one_hot: f32 [..., depth], without a last axis of 1;
///          multi_hot, count, tf_idf: f32 [B, depth] for x [B, N]
/// Errors   ConfigError for a vocabulary with a token twice, or larger than max_tokens, for no
///          vocabulary, and for an unknown integer where num_oov_indices is 0; ShapeError
/// Source: keras.layers.IntegerLookup.
class IntegerLookup final : public LookupLayer {
 public:
  using Config = IntegerLookupConfig;
  explicit IntegerLookup(const IntegerLookupConfig& config = {});
  ~IntegerLookup() override;
  std::string_view class_name() const override { return "IntegerLookup"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;

  void set_vocabulary(std::vector<std::int64_t> tokens, std::vector<double> idf_weights = {});
  std::vector<std::int64_t> vocabulary() const;
  void adapt(Context& ctx, const Tensor& data) override;
  bool has_vocabulary() const override;
  void set_vocabulary_lines(const std::vector<std::string>& lines) override;

 private:
  std::unique_ptr<nn::Vocabulary<std::int64_t>> words_;
};

/// The same for texts, as text_tensor() makes them; [..., N] gives what integers [...] do. With
/// `invert` places [...] give texts [..., N], N the bytes of the longest token. Places of unknown
/// texts are chosen by TensorFlow's hash. Errors: as IntegerLookup.
/// Source: keras.layers.StringLookup; tf.strings.to_hash_bucket_fast and to_hash_bucket_strong.
class StringLookup final : public LookupLayer {
 public:
  using Config = StringLookupConfig;
  explicit StringLookup(const StringLookupConfig& config = {});
  ~StringLookup() override;
  std::string_view class_name() const override { return "StringLookup"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;

  void set_vocabulary(std::vector<std::string> tokens, std::vector<double> idf_weights = {});
  std::vector<std::string> vocabulary() const;
  void adapt(Context& ctx, const Tensor& data) override;
  bool has_vocabulary() const override;
  void set_vocabulary_lines(const std::vector<std::string>& lines) override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;

 private:
  std::unique_ptr<nn::Vocabulary<std::string>> words_;
};

struct HashingConfig {
  Index num_bins = 0;  ///< >= 1
  /// An input, a text or an integer, that is in bin 0, which the others then are not.
  std::optional<std::variant<std::int64_t, std::string>> mask_value{};
  std::optional<std::array<std::int64_t, 2>> salt{};  ///< key of another hash
  LookupMode output_mode = LookupMode::integers;      ///< not tf_idf
  Dtype integers = Dtype::i64;                        ///< of output_mode integers: i64 or i32
  std::string name = "hashing";
  DtypePolicy dtype{};  ///< of the other modes
};

class CategoryEncoding;

/// Texts (text_tensor(), [..., N]) or numbers [...] to bins by TensorFlow's hash of their texts, in
/// which a floating-point number is its whole part, or -2^63 where an i64 has none, and a boolean
/// "true" or "false". A shared layer takes one of both in a model.
///
/// Outputs  integers: bins [...]; one_hot, multi_hot, count: rows of num_bins numbers, as
///          CategoryEncoding makes them
/// Errors   ConfigError for num_bins below 1, and a mask_value of the other kind, or beside
///          booleans; ShapeError
/// Source: keras.layers.Hashing.
class Hashing final : public Layer, public detail::ReadsTypes {
 public:
  using Config = HashingConfig;
  explicit Hashing(const HashingConfig& config);
  ~Hashing() override;
  std::string_view class_name() const override { return "Hashing"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  void read_types(std::span<const Dtype> inputs) override;
  Shape tokens_shape(const Shape& input) const;
  Tensor bins(Context& ctx, const Tensor& x) const;

  HashingConfig config_;
  bool takes_texts_ = false;
  std::unique_ptr<CategoryEncoding> encoding_;  // null for integers
};

enum class TextSplit : int { none, whitespace, character };

struct TextVectorizationConfig {
  bool lower = true;              ///< ASCII letters, as in Keras
  bool strip_punctuation = true;  ///< of ASCII
  TextSplit split = TextSplit::whitespace;
  /// So many neighbouring tokens each, joined by a space: Keras's 2 is {1, 2}. Empty: tokens alone.
  std::vector<Index> ngrams{};
  std::optional<Index> output_sequence_length{};  ///< of output_mode integers
  /// Of the tokens: max_tokens, vocabulary, idf_weights, output_mode, pad_to_max_tokens,
  /// vocabulary_size, name and trainable.
  StringLookupConfig tokens{};
};

/// Texts [B] or [B, 1] (text_tensor()) to places in a vocabulary: standardized, split, looked up.
/// 0 is padding, 1 an unknown token ("[UNK]"); in other modes than integers unknown is 0.
///
/// Outputs  integers: i64 [B, output_sequence_length], cut or filled up with 0, or as long as the
///          longest text; else f32 [B, depth]
/// Errors   ConfigError for no vocabulary, for one_hot, and for ngrams of texts that are not split;
///          ShapeError
/// Source: keras.layers.TextVectorization.
class TextVectorization final : public LookupLayer {
 public:
  using Config = TextVectorizationConfig;
  explicit TextVectorization(const TextVectorizationConfig& config = {});
  ~TextVectorization() override;
  std::string_view class_name() const override { return "TextVectorization"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;

  /// Keras's `layer(texts)`.
  Tensor vectorize(Context& ctx, std::span<const std::string> texts) const;
  /// The tokens of one text.
  std::vector<std::string> split(std::string_view text) const;

  void set_vocabulary(std::vector<std::string> tokens, std::vector<double> idf_weights = {});
  std::vector<std::string> vocabulary() const;
  void adapt(Context& ctx, const Tensor& data) override;
  bool has_vocabulary() const override;
  void set_vocabulary_lines(const std::vector<std::string>& lines) override;

 private:
  TextVectorizationConfig config_;
  std::unique_ptr<nn::Vocabulary<std::string>> words_;
};

}  // namespace grouphead
#pragma GCC visibility pop
