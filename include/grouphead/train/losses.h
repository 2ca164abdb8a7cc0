#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <vector>

#include "grouphead/core/context.h"
#include "grouphead/layers/choice.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How the weighted values of a loss become one number. Keras's names; `none` is Keras's None too.
enum class Reduction : int {
  sum_over_batch_size,      ///< sum / number of values
  sum,                      ///< sum
  mean,                     ///< another name of sum_over_batch_size
  mean_with_sample_weight,  ///< sum / sum of the weights
  none                      ///< the values themselves
};
/// Keras's name. Errors of the other direction: ConfigError that lists the names.
std::string_view name_of(Reduction reduction) noexcept;
Reduction reduction_from_config(const ConfigValue& identifier);

/// What a loss compares.
struct LossOperands {
  /// y_true. As the prediction, or without its last axis where the classes are labels; any type.
  ConstView target{};
  ConstView prediction{};  ///< y_pred [..., C], any floating type
  /// Attached to the prediction: bool [...]. Where false the value counts nothing; averages are
  /// over the true ones.
  ConstView mask{};
  /// Multiplies the values: [...] with axes of size 1 where it repeats, or a number [].
  ConstView sample_weight{};
};

/// A reduced loss and its gradient.
struct LossResult {
  double value = 0;       ///< the sum of `values` where the reduction is none
  Tensor values{};        ///< weighted, [...]; with Reduction::none only
  Tensor d_prediction{};  ///< of `value`, in f32, or f64 for an f64 prediction
};

/// The operands of one loss, as rows: what a rule computes from.
struct LossRows {
  ConstView prediction{};  ///< [rows, C], f32 or f64
  /// [rows, C] of prediction's type; or labels, i32: [rows], or [rows, L].
  ConstView target{};
  Index classes = 0;  ///< size of the prediction's last axis, where C holds several axes
  /// Of the gradients of each value: f64 [rows], or absent for `scale` in every row. Rows of weight
  /// 0 have gradient 0 whatever their numbers.
  ConstView weights{};
  double scale = 1;
  View values{};        ///< [rows], prediction's type
  View d_prediction{};  ///< [rows, C]; absent: not wanted
};

/// What a loss's targets are.
enum class LossTargets : int {
  numbers,     ///< one for each of the prediction
  labels,      ///< the class of each value
  any_labels,  ///< a label of each value that need not be a class
  label_rows   ///< classes [B, L]
};

/// A loss function with its options. Source: keras.losses.Loss.
class LossRule {
 public:
  static constexpr std::string_view kModule = "keras.losses";
  /// From a Keras name (`mse`, `sparse_categorical_crossentropy`, ...: all with their defaults, so
  /// from_logits=False) or envelope; null for null. Errors: ConfigError.
  static std::shared_ptr<const LossRule> from_config(const ConfigValue& identifier);
  /// Whether from_config() knows this name of a class or a function.
  static bool is_known(std::string_view name);
  /// The classes' names, for messages.
  static std::string known_names();

  virtual ~LossRule() = default;
  virtual std::string_view class_name() const = 0;
  virtual ConfigValue get_config() const;
  const std::string& name() const noexcept { return name_; }
  Reduction reduction() const noexcept { return reduction_; }

  /// The reduced loss. Errors: ShapeError for operands that do not fit, and for labels that are no
  /// class.
  double value(Context& ctx, const LossOperands& operands) const;
  /// The same, and `gradient_scale` times its gradient.
  LossResult value_and_gradient(Context& ctx, const LossOperands& operands,
                                double gradient_scale = 1) const;
  /// One value per row, neither weighted nor reduced, [...] of f32 or f64. A mask or weights in the
  /// operands are not read.
  Tensor values(Context& ctx, const LossOperands& operands) const;

 protected:
  LossRule(std::string name, Reduction reduction) : name_(std::move(name)), reduction_(reduction) {}

 private:
  /// Writes rows.values and, where wanted, rows.d_prediction.
  virtual void evaluate(Context& ctx, const LossRows& rows) const = 0;
  /// What targets are.
  virtual LossTargets targets() const { return LossTargets::numbers; }
  /// A label whose positions do not count.
  virtual std::optional<Index> ignored_class() const { return {}; }
  /// Whether values of 0 are left out of averages, as under a mask.
  virtual bool counts_positive_values() const { return false; }
  /// How many of the prediction's first axes the values have.
  virtual int num_value_axes(const Shape& prediction) const { return prediction.rank() - 1; }

  struct Prepared;
  Prepared prepared(Context& ctx, const LossOperands& operands) const;
  LossResult run(Context& ctx, const LossOperands& operands,
                 std::optional<double> gradient_scale) const;

  std::string name_;
  Reduction reduction_;
};

/// None, or a loss by Keras's name, by its configuration, or as an object.
using Loss = Choice<LossRule>;
/// A class of yours goes by the name that it was registered by.
template <>
ConfigValue Choice<LossRule>::config() const;

/// What a registered name is in Keras: a class, or a function of targets and predictions.
enum class RegisteredAs : int { a_class, a_function };

namespace detail {
using LossMaker = std::function<std::shared_ptr<const LossRule>(const ConfigValue& config)>;
void register_loss(const std::string& name, RegisteredAs as, std::type_index type, LossMaker make);
}  // namespace detail

/// Makes a loss of yours known under `package>Class`, the name that
/// `keras.saving.register_keras_serializable(package=...)` gives it, so that compiled files with it
/// are read and written. As a_function, `package>function`, it is a metric too. The class has
///
///     static std::shared_ptr<MyLoss> from_config(const ConfigValue& config);
///
/// which is given what get_config() writes; of a function nothing. Call it once, before the first
/// file is read; a second call for the same class changes nothing. Threads: safe.
/// Errors: ConfigError for a name of another form, or that another class has.
template <class L>
void register_loss(const std::string& name, RegisteredAs as = RegisteredAs::a_class) {
  static_assert(std::is_base_of_v<LossRule, L>);
  static_assert(
      std::is_convertible_v<decltype(L::from_config(ConfigValue())), std::shared_ptr<const L>>,
      "the class needs from_config() of its own");
  detail::register_loss(name, as, typeid(L), [](const ConfigValue& config) {
    return std::shared_ptr<const LossRule>(L::from_config(config));
  });
}

// The losses. Names and defaults are Keras's; every one is a mean over the last axis but the
// categorical ones and kl_divergence, which are sums over it, and where it says otherwise.

struct MeanErrorConfig {
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name{};  ///< empty: Keras's default
};
/// (prediction - target)^2. Source: keras.losses.MeanSquaredError.
Loss mean_squared_error(const MeanErrorConfig& config = {});
/// |prediction - target|. Source: keras.losses.MeanAbsoluteError.
Loss mean_absolute_error(const MeanErrorConfig& config = {});

struct HuberConfig {
  double delta = 1;
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "huber_loss";
};
/// e^2 / 2 up to |e| = delta, then delta |e| - delta^2 / 2. Source: keras.losses.Huber.
Loss huber(const HuberConfig& config = {});

struct CrossentropyConfig {
  bool from_logits = false;    ///< else the predictions are probabilities
  double label_smoothing = 0;  ///< in [0, 1]
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name{};  ///< empty: Keras's default
};
/// -t log p - (1 - t) log(1 - p). Source: keras.losses.BinaryCrossentropy.
Loss binary_crossentropy(const CrossentropyConfig& config = {});
/// -sum of t log p, targets one-hot. Source: keras.losses.CategoricalCrossentropy.
Loss categorical_crossentropy(const CrossentropyConfig& config = {});

struct SparseCategoricalCrossentropyConfig {
  bool from_logits = false;             ///< else the predictions are probabilities
  std::optional<Index> ignore_class{};  ///< positions with this label do not count
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "sparse_categorical_crossentropy";
};
/// -log p[label]. Source: keras.losses.SparseCategoricalCrossentropy.
Loss sparse_categorical_crossentropy(const SparseCategoricalCrossentropyConfig& config = {});

/// 100 |target - prediction| / |target|. Source: keras.losses.MeanAbsolutePercentageError.
Loss mean_absolute_percentage_error(const MeanErrorConfig& config = {});
/// (log(prediction + 1) - log(target + 1))^2. Source: keras.losses.MeanSquaredLogarithmicError.
Loss mean_squared_logarithmic_error(const MeanErrorConfig& config = {});
/// log(cosh(prediction - target)). Source: keras.losses.LogCosh.
Loss log_cosh(const MeanErrorConfig& config = {});
/// max(1 - target prediction, 0), targets -1 and 1, or 0 and 1. Source: keras.losses.Hinge.
Loss hinge(const MeanErrorConfig& config = {});
/// Source: keras.losses.SquaredHinge.
Loss squared_hinge(const MeanErrorConfig& config = {});
/// prediction - target log(prediction). Source: keras.losses.Poisson.
Loss poisson(const MeanErrorConfig& config = {});
/// Minus the cosine of target and prediction. Source: keras.losses.CosineSimilarity.
Loss cosine_similarity(const MeanErrorConfig& config = {});
/// By the target's class and the best other one. Source: keras.losses.CategoricalHinge.
Loss categorical_hinge(const MeanErrorConfig& config = {});
/// sum of target log(target / prediction). Source: keras.losses.KLDivergence.
Loss kl_divergence(const MeanErrorConfig& config = {});

struct BinaryFocalCrossentropyConfig {
  bool apply_class_balancing = false;
  double alpha = 0.25;  ///< of the class 1 where classes are balanced
  double gamma = 2;
  bool from_logits = false;
  double label_smoothing = 0;
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "binary_focal_crossentropy";
};
/// Source: keras.losses.BinaryFocalCrossentropy; Lin et al. 2017, arXiv:1708.02002.
Loss binary_focal_crossentropy(const BinaryFocalCrossentropyConfig& config = {});

struct CategoricalFocalCrossentropyConfig {
  double alpha = 0.25;
  double gamma = 2;
  bool from_logits = false;
  double label_smoothing = 0;
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "categorical_focal_crossentropy";
};
/// Source: keras.losses.CategoricalFocalCrossentropy.
Loss categorical_focal_crossentropy(const CategoricalFocalCrossentropyConfig& config = {});

struct CategoricalGeneralizedCrossEntropyConfig {
  double q = 0.5;  ///< in (0, 1)
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "categorical_generalized_cross_entropy";
};
/// (1 - p[label]^q) / q. Source: keras.losses.CategoricalGeneralizedCrossEntropy; Zhang & Sabuncu
/// 2018, arXiv:1805.07836.
Loss categorical_generalized_cross_entropy(
    const CategoricalGeneralizedCrossEntropyConfig& config = {});

struct DiceConfig {
  std::vector<Index> axis{};  ///< the last axes, over which one value is made; empty: all
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "dice";
};
/// 1 - 2 sum(t x) / (sum(t) + sum(x)). Source: keras.losses.Dice.
Loss dice(const DiceConfig& config = {});

struct TverskyConfig {
  double alpha = 0.5;         ///< of what the target has alone
  double beta = 0.5;          ///< of what the prediction has alone
  std::vector<Index> axis{};  ///< as in DiceConfig
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "tversky";
};
/// Source: keras.losses.Tversky; Salehi et al. 2017, arXiv:1706.05721.
Loss tversky(const TverskyConfig& config = {});

struct CTCConfig {
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "ctc";
};
/// -log of the probability that logits [B, T, C] spell labels [B, L]; class 0 is the blank, and
/// what stands behind the labels. One value for each sample. Source: keras.losses.CTC; Graves et
/// al. 2006.
Loss ctc(const CTCConfig& config = {});

struct CircleConfig {
  double gamma = 80;
  double margin = 0.4;
  bool remove_diagonal = true;
  Reduction reduction = Reduction::sum_over_batch_size;
  std::string name = "circle";
};
/// For embeddings [B, C] of norm 1 and labels [B]: those of one label shall be near each other. One
/// value for each sample; zeros do not count in averages. Source: keras.losses.Circle; Sun et al.
/// 2020, arXiv:2002.10857.
Loss circle(const CircleConfig& config = {});

}  // namespace grouphead
#pragma GCC visibility pop
