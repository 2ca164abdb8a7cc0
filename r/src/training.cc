// Keras's compile(), fit(), evaluate() and predict() on R's arrays.

#include <R_ext/Utils.h>

#include <chrono>
#include <exception>

#include "callbacks.h"
#include "entries.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/train/fit.h"
#include "handles.h"
#include "values.h"

namespace gr {
namespace {

using Dtypes = std::vector<std::optional<gh::Dtype>>;

/// Whether the user pressed Ctrl-C since the last call.
bool was_interrupted() {
  return R_ToplevelExec([](void*) { R_CheckUserInterrupt(); }, nullptr) == FALSE;
}

/// A model that fit() or evaluate() holds: no callback may train it, compile it or add to it.
class Busy {
 public:
  explicit Busy(Holder& holder) : holder_(holder) {
    if (holder.is_busy) {
      throw gh::ConfigError("[R] model: expected one at rest, got one in fit() or evaluate()");
    }
    holder.is_busy = true;
  }
  ~Busy() { holder_.is_busy = false; }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  Holder& holder_;
};

/// After data_from(): a model that was compiled before it was built is compiled now.
gh::CompiledModel& compiled_of(Holder& holder) {
  if (holder.settings) {
    holder.compiled = std::make_unique<gh::CompiledModel>(*holder.layer, *holder.settings);
    holder.settings.reset();
  }
  if (holder.compiled == nullptr) {
    throw gh::ConfigError("[R] model '" + holder.layer->name() +
                          "': expected a compiled one: see compile()");
  }
  return *holder.compiled;
}

// A sequential model without an input is built by the first data it sees.
void build_for(gh::Layer& layer, const std::vector<gh::Tensor>& x, SEXP seed) {
  if (layer.is_built()) return;
  std::vector<gh::Shape> shapes;
  for (const gh::Tensor& tensor : x) {
    std::vector<gh::Index> sizes(tensor.shape().begin(), tensor.shape().end());
    if (!sizes.empty()) sizes[0] = -1;
    shapes.push_back(gh::Shape::partial(std::span<const gh::Index>(sizes)));
  }
  gh::RandomStream random(static_cast<std::uint64_t>(to_index(seed, "seed")));
  layer.build(shapes, random);
}

/// The arrays of a list in the order of the model's inputs; by names where it has some.
std::vector<gh::Tensor> inputs_from(const gh::Model& model, SEXP x) {
  Dtypes dtypes;
  if (model.has_graph()) {
    for (const gh::Symbol& input : model.inputs()) dtypes.emplace_back(input.dtype());
  } else {
    std::optional<gh::Dtype> dtype;
    if (TYPEOF(x) == REALSXP) dtype = gh::Dtype::f32;
    if (TYPEOF(x) == STRSXP) dtype = gh::Dtype::u8;
    dtypes.push_back(dtype);
  }
  if (Rf_isNull(x)) refuse("x", "arrays", x);
  const bool has_names = TYPEOF(x) == VECSXP && !Rf_isNull(Rf_getAttrib(x, R_NamesSymbol));
  if (!has_names || !model.has_graph()) {
    std::vector<gh::Tensor> tensors = to_tensors(x, "x", dtypes);
    for (std::size_t i = 0; model.has_graph() && i < tensors.size(); ++i) {
      if (i < model.inputs().size()) {
        tensors[i] = text_rows(std::move(tensors[i]), model.inputs()[i].shape().rank());
      }
    }
    return tensors;
  }
  std::vector<gh::Tensor> tensors(model.inputs().size());
  const std::vector<std::string> names = names_of(x);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::size_t place = model.input_place(names[i]);
    tensors[place] =
        text_rows(to_tensor(VECTOR_ELT(x, static_cast<R_xlen_t>(i)), names[i], dtypes[place]),
                  model.inputs()[place].shape().rank());
  }
  return tensors;
}

/// The same for targets and weights, by the outputs' names.
std::vector<gh::Tensor> for_outputs(const gh::Model& model, SEXP value, const char* what) {
  if (Rf_isNull(value)) return {};
  Dtypes dtypes;
  for (const gh::Symbol& output : model.outputs()) {
    dtypes.push_back(output.dtype() == gh::Dtype::f64 ? std::optional(gh::Dtype::f64)
                                                      : std::nullopt);
  }
  const bool has_names = TYPEOF(value) == VECSXP && !Rf_isNull(Rf_getAttrib(value, R_NamesSymbol));
  if (!has_names) return to_tensors(value, what, dtypes);
  const std::vector<std::string> outputs = model.output_names();
  std::vector<gh::Tensor> tensors(outputs.size());
  const std::vector<std::string> names = names_of(value);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto found = std::find(outputs.begin(), outputs.end(), names[i]);
    if (found == outputs.end()) {
      throw gh::ConfigError("[R] " + std::string(what) + ": expected an output's name, got " +
                            names[i]);
    }
    const auto place = static_cast<std::size_t>(found - outputs.begin());
    tensors[place] =
        to_tensor(VECTOR_ELT(value, static_cast<R_xlen_t>(i)), names[i], dtypes[place]);
  }
  return tensors;
}

gh::Data data_from(SEXP model, SEXP list) {
  gh::Model& held = model_of(model, "model");
  gh::Data data{.x = inputs_from(held, entry(list, "x"))};
  build_for(held, data.x, entry(list, "seed"));
  data.y = for_outputs(held, entry(list, "y"), "y");
  data.sample_weight = for_outputs(held, entry(list, "sample_weight"), "sample_weight");
  return data;
}

gh::Index index_or(SEXP settings, const char* name, gh::Index otherwise) {
  const SEXP value = entry(settings, name);
  return Rf_isNull(value) ? otherwise : to_index(value, name);
}

std::map<gh::Index, double> class_weights(SEXP value) {
  std::map<gh::Index, double> weights;
  const std::vector<std::string> names = names_of(value);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const cpp11::sexp weight = TYPEOF(value) == VECSXP ? VECTOR_ELT(value, static_cast<R_xlen_t>(i))
                                                       : cpp11::safe[Rf_ScalarReal](REAL(value)[i]);
    char* end = nullptr;
    const long long label = std::strtoll(names[i].c_str(), &end, 10);
    if (names[i].empty() || *end != '\0') refuse("class_weight", "classes as names", value);
    weights[label] = to_number(weight, "class_weight");
  }
  return weights;
}

gh::FitConfig fit_config(SEXP settings) {
  return {.batch_size = index_or(settings, "batch_size", 0),
          .epochs = index_or(settings, "epochs", 1),
          .validation_split = to_number(entry(settings, "validation_split"), "validation_split"),
          .shuffle = to_flag(entry(settings, "shuffle"), "shuffle"),
          .shuffle_seed = static_cast<std::uint64_t>(index_or(settings, "seed", 0)),
          .class_weight = class_weights(entry(settings, "class_weight")),
          .initial_epoch = index_or(settings, "initial_epoch", 0),
          .steps_per_epoch = index_or(settings, "steps_per_epoch", 0),
          .validation_steps = index_or(settings, "validation_steps", 0),
          .validation_batch_size = index_or(settings, "validation_batch_size", 0),
          .validation_freq = index_or(settings, "validation_freq", 1)};
}

/// Tells R where the training stands, ten times a second and after each epoch.
class Progress {
 public:
  Progress(SEXP function, std::atomic<bool>& stop) : function_(function), stop_(stop) {}

  void operator()(const gh::FitProgress& at) {
    if (was_interrupted()) stop_ = true;
    const auto now = std::chrono::steady_clock::now();
    if (Rf_isNull(function_) || (!at.epoch_is_over && now < next_)) return;
    next_ = now + std::chrono::milliseconds(100);
    const auto number = [](gh::Index i) {
      return cpp11::sexp(cpp11::safe[Rf_ScalarReal](static_cast<double>(i)));
    };
    call_function(function_,
                  {number(at.epoch), number(at.epochs), number(at.step), number(at.steps),
                   cpp11::safe[Rf_ScalarLogical](at.epoch_is_over ? 1 : 0), from_logs(at.logs)});
  }

 private:
  cpp11::sexp function_;
  std::atomic<bool>& stop_;
  std::chrono::steady_clock::time_point next_{};
};

SEXP from_history(const gh::History& history) {
  NamedList metrics;
  for (const auto& [name, values] : history.series) {
    cpp11::sexp series = cpp11::safe[Rf_allocVector](REALSXP, static_cast<R_xlen_t>(values.size()));
    std::copy(values.begin(), values.end(), REAL(series));
    metrics.add(name, series);
  }
  cpp11::sexp epochs =
      cpp11::safe[Rf_allocVector](INTSXP, static_cast<R_xlen_t>(history.epochs.size()));
  for (std::size_t i = 0; i < history.epochs.size(); ++i) {
    INTEGER(epochs)[i] = static_cast<int>(history.epochs[i]) + 1;
  }
  NamedList result;
  result.add("metrics", metrics.get());
  result.add("epochs", epochs);
  result.add("interrupted", cpp11::safe[Rf_ScalarLogical](history.interrupted ? 1 : 0));
  return result.get();
}

struct Interrupted : std::exception {
  const char* what() const noexcept override { return "[R] interrupted"; }
};

std::vector<gh::Tensor> rows(const std::vector<gh::Tensor>& all, gh::Index begin, gh::Index end) {
  std::vector<gh::Tensor> out;
  for (const gh::Tensor& tensor : all) out.push_back(gh::slice(tensor, 0, begin, end));
  return out;
}

/// The batches of an evaluation, which Ctrl-C ends.
gh::BatchSource batches_of(const gh::Data& data, gh::Index batch_size) {
  return [&data, batch_size](gh::Index, gh::Index step) -> std::optional<gh::Data> {
    if (was_interrupted()) throw Interrupted();
    const gh::Index samples = data.x[0].dim(0);
    const gh::Index begin = step * batch_size;
    if (begin >= samples) return {};
    const gh::Index end = std::min(samples, begin + batch_size);
    return gh::Data{.x = rows(data.x, begin, end),
                    .y = rows(data.y, begin, end),
                    .sample_weight = rows(data.sample_weight, begin, end)};
  };
}

/// One number of samples in all arrays.
gh::Index samples_in(const gh::Data& data) {
  gh::Index samples = -1;
  for (const auto* tensors : {&data.x, &data.y, &data.sample_weight}) {
    for (const gh::Tensor& tensor : *tensors) {
      if (!tensor.has_value() || tensor.rank() == 0) {
        throw gh::ShapeError("[R] data: expected an array for each input and output");
      }
      if (samples < 0) samples = tensor.dim(0);
      if (tensor.dim(0) != samples) {
        throw gh::ShapeError("[R] data: expected " + std::to_string(samples) +
                             " samples in each array, got " + std::to_string(tensor.dim(0)));
      }
    }
  }
  return samples;
}

/// Where predict() puts the outputs of its batches.
void append(std::vector<gh::Tensor>& all, const std::vector<gh::Value>& outputs, gh::Index begin,
            gh::Index samples) {
  if (all.empty()) {
    for (const gh::Value& output : outputs) {
      const gh::Shape& one = output.tensor.shape();
      std::vector<gh::Index> sizes(one.begin(), one.end());
      sizes.at(0) = samples;
      all.emplace_back(gh::Shape(std::span<const gh::Index>(sizes)), output.tensor.dtype());
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    const gh::Tensor& rows_of_batch = outputs[i].tensor;
    gh::copy(rows_of_batch, all[i].view().slice(0, begin, begin + rows_of_batch.dim(0)));
  }
}

}  // namespace
}  // namespace gr

using namespace gr;

SEXP gr_compile(SEXP model, SEXP config, SEXP auto_scale_loss) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  const Busy busy(holder);
  gh::Model& held = model_of(model, "model");
  const gh::ConfigValue described = to_config(config, "config");
  gh::CompileConfig settings = gh::compile_config_from(described, held);
  settings.auto_scale_loss = to_flag(auto_scale_loss, "auto_scale_loss");
  // For its errors, too, where the model has no parameters yet.
  holder.compiled = std::make_unique<gh::CompiledModel>(held, settings);
  holder.settings.reset();
  if (!held.is_built()) {
    holder.compiled.reset();
    holder.settings = gh::compile_config_from(described, held);
    holder.settings->auto_scale_loss = settings.auto_scale_loss;
  }
  return R_NilValue;
  END_CPP11
}

SEXP gr_fit(SEXP model, SEXP data, SEXP validation, SEXP settings, SEXP callbacks, SEXP progress) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  const Busy busy(holder);
  const gh::Data training = data_from(model, data);
  gh::CompiledModel& compiled = compiled_of(holder);
  gh::FitConfig config = fit_config(settings);
  if (!Rf_isNull(validation)) config.validation_data = data_from(model, validation);
  config.callbacks = to_callbacks(callbacks);
  std::atomic<bool> stop = false;
  Progress shown(progress, stop);
  config.stop = &stop;
  config.progress = [&shown](const gh::FitProgress& at) { shown(at); };
  return from_history(compiled.fit(context(), training, config));
  END_CPP11
}

SEXP gr_evaluate(SEXP model, SEXP data, SEXP batch_size, SEXP steps, SEXP callbacks) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  const Busy busy(holder);
  const gh::Data held = data_from(model, data);
  samples_in(held);
  const gh::Index size = to_index(batch_size, "batch_size");
  if (size < 1) refuse("batch_size", "a number above 0", batch_size);
  const gh::EvaluateConfig config{.steps = to_index(steps, "steps"),
                                  .callbacks = to_callbacks(callbacks)};
  try {
    return from_logs(compiled_of(holder).evaluate(context(), batches_of(held, size), config));
  } catch (const Interrupted&) {
    return R_NilValue;
  }
  END_CPP11
}

SEXP gr_predict(SEXP model, SEXP x, SEXP batch_size, SEXP seed) {
  BEGIN_CPP11
  gh::Model& held = model_of(model, "model");
  const gh::Data data{.x = inputs_from(held, x)};
  build_for(held, data.x, seed);
  const gh::Index samples = samples_in(data);
  const gh::Index size = to_index(batch_size, "batch_size");
  if (size < 1) refuse("batch_size", "a number above 0", batch_size);
  if (samples < 1) throw gh::ShapeError("[R] x: expected 1 sample or more, got none");
  std::vector<gh::Tensor> all;
  for (gh::Index begin = 0; begin < samples; begin += size) {
    if (was_interrupted()) return R_NilValue;
    std::vector<gh::Value> in;
    for (gh::Tensor& tensor : rows(data.x, begin, std::min(samples, begin + size))) {
      in.push_back({std::move(tensor)});
    }
    append(all, held.call(context(), in, {}, nullptr), begin, samples);
  }
  return from_tensors(all);
  END_CPP11
}

SEXP gr_batch(SEXP model, SEXP data, SEXP train) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  const Busy busy(holder);
  const gh::Data batch = data_from(model, data);
  gh::CompiledModel& compiled = compiled_of(holder);
  compiled.reset_metrics();
  if (to_flag(train, "train")) {
    compiled.train_on_batch(context(), batch);
  } else {
    compiled.test_on_batch(context(), batch);
  }
  return from_logs(compiled.logs());
  END_CPP11
}

SEXP gr_learning_rate(SEXP model, SEXP rate) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  gh::Optimizer& optimizer =
      holder.settings ? *holder.settings->optimizer.get() : compiled_of(holder).optimizer();
  if (!Rf_isNull(rate)) optimizer.set_learning_rate(to_number(rate, "learning_rate"));
  return cpp11::safe[Rf_ScalarReal](optimizer.learning_rate());
  END_CPP11
}
