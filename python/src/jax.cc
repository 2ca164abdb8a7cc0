// attention() and attention_backward() as XLA calls them, for grouphead.jax.
//
// Attributes: `integers` and `numbers`, as Settings reads them. Operands: those of kOperands that
// `present` has a bit for, before them in the backward d_out, out, statistics and, where the scores
// were a result, d_scores. Results: out, statistics, and the scores where they are wanted; in the
// backward the gradients. Each may have more axes in front, the same for all, which vmap made: as
// many calls.

#include <nanobind/nanobind.h>

#include <array>
#include <bit>
#include <cmath>
#include <exception>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "arrays.h"
#include "contexts.h"
#include "grouphead/attention.h"
#include "module.h"
#include "xla.h"

namespace grouphead::python {
namespace {

Dtype dtype_of(xla::DataType type) {
  switch (type) {
    case xla::DataType::boolean:
      return Dtype::boolean;
    case xla::DataType::s32:
      return Dtype::i32;
    case xla::DataType::s64:
      return Dtype::i64;
    case xla::DataType::u8:
      return Dtype::u8;
    case xla::DataType::f16:
      return Dtype::f16;
    case xla::DataType::f32:
      return Dtype::f32;
    case xla::DataType::f64:
      return Dtype::f64;
    case xla::DataType::bf16:
      return Dtype::bf16;
  }
  throw ShapeError("[grouphead.jax] operands: expected another element type");
}

// Axes in front of the last `rank` ones, multiplied.
Index count_calls(const xla::Buffer& buffer, Index rank) {
  return std::accumulate(buffer.dims, buffer.dims + (buffer.rank - rank), Index{1},
                         std::multiplies<>());
}

// The last `rank` axes of call n.
View view_of(const xla::Buffer& buffer, Index rank, Index n) {
  const Shape shape(
      std::span<const Index>(buffer.dims + (buffer.rank - rank), static_cast<std::size_t>(rank)));
  const Dtype dtype = dtype_of(buffer.dtype);
  return {static_cast<char*>(buffer.data) + n * shape.size() * size_of(dtype), dtype, shape};
}

class Call {
 public:
  explicit Call(const xla::CallFrame& frame) : frame_(frame) {}
  const xla::Buffer& argument(Index i) const {
    return *static_cast<const xla::Buffer*>(frame_.arguments.items[i]);
  }
  const xla::Buffer& result(Index i) const {
    return *static_cast<const xla::Buffer*>(frame_.results.items[i]);
  }
  Index num_arguments() const { return frame_.arguments.size; }
  Index num_results() const { return frame_.results.size; }
  template <class T>
  std::span<const T> attribute(std::string_view name) const {
    for (Index i = 0; i < frame_.attributes.size; ++i) {
      const xla::Span& own = *frame_.attributes.names[i];
      if (std::string_view(own.data, own.size) != name) continue;
      const auto& array = *static_cast<const xla::Array*>(frame_.attributes.items[i]);
      return {static_cast<const T*>(array.data), array.size};
    }
    throw ConfigError("[grouphead.jax] attributes: expected " + std::string(name));
  }

 private:
  const xla::CallFrame& frame_;
};

struct Settings {
  AttentionOptions options;
  Index present = 0;  // of kOperands, bit i for operand i
  bool is_bhtd = false;
  Index needs = 0;  // of d_q, d_k, d_v, d_bias, d_sinks

  explicit Settings(const Call& call) {
    const auto integers = call.attribute<Index>("integers");
    const auto numbers = call.attribute<double>("numbers");
    if (integers.size() != 10 || numbers.size() != 3) {
      throw ConfigError("[grouphead.jax] attributes: expected 10 integers and 3 numbers");
    }
    present = integers[0];
    needs = integers[1];
    is_bhtd = integers[2] != 0;
    options.causal = integers[3] != 0;
    options.causal_offset = integers[4];
    if (integers[5] != 0) options.window_left = integers[6];
    if (integers[7] != 0) options.window_right = integers[8];
    options.masked_rows = integers[9] != 0 ? MaskedRows::uniform : MaskedRows::zeros;
    if (!std::isnan(numbers[0])) options.scale = numbers[0];
    if (!std::isnan(numbers[1])) options.softcap = numbers[1];
    options.dropout_rate = numbers[2];
  }

  template <class AnyView>
  AnyView heads(const AnyView& x) const {
    return is_bhtd ? swapped(x) : x;
  }
};

struct Operand {
  const char* name;
  Index rank;
  ConstView AttentionOptions::*option;  // null: q, k, v; and `draw`, the last one
};

constexpr std::array<Operand, 13> kOperands = {{
    {"q", 4, nullptr},
    {"k", 4, nullptr},
    {"v", 4, nullptr},
    {"mask", 4, &AttentionOptions::mask},
    {"key_mask", 2, &AttentionOptions::key_mask},
    {"query_mask", 2, &AttentionOptions::query_mask},
    {"bias", 4, &AttentionOptions::bias},
    {"alibi_slopes", 1, &AttentionOptions::alibi_slopes},
    {"sinks", 1, &AttentionOptions::sinks},
    {"lengths", 1, &AttentionOptions::lengths},
    {"segments", 1, &AttentionOptions::segments},
    {"key_segments", 1, &AttentionOptions::key_segments},
    {"draw", 1, nullptr},
}};

struct Operands {
  ConstView heads[3];
  AttentionOptions options;
};

// Of call n, from argument `first` on.
Operands operands_of(const Call& call, const Settings& settings, Index first, Index n) {
  Operands operands{{}, settings.options};
  for (std::size_t i = 0; i < kOperands.size(); ++i) {
    if ((settings.present >> i & 1) == 0) continue;
    const View x = view_of(call.argument(first++), kOperands[i].rank, n);
    if (i < 3) {
      operands.heads[i] = settings.heads(ConstView(x));
    } else if (kOperands[i].option != nullptr) {
      operands.options.*kOperands[i].option = x;
    } else {
      const std::int32_t* key = x.data<std::int32_t>();
      operands.options.draw.key = {static_cast<std::uint32_t>(key[0]),
                                   static_cast<std::uint32_t>(key[1])};
    }
  }
  return operands;
}

void run_forward(const Call& call) {
  const Settings settings(call);
  const ContextLease ctx;
  const Index calls = count_calls(call.argument(0), 4);
  for (Index n = 0; n < calls; ++n) {
    const Operands x = operands_of(call, settings, 0, n);
    const View statistics = view_of(call.result(1), 4, n);
    attention(*ctx, x.heads[0], x.heads[1], x.heads[2], x.options,
              settings.heads(view_of(call.result(0), 4, n)), {.statistics = statistics});
    if (call.num_results() < 3) continue;
    attention_scores(*ctx, x.heads[0], x.heads[1], x.options, statistics,
                     view_of(call.result(2), 4, n));
  }
}

void run_backward(const Call& call) {
  const Settings settings(call);
  const ContextLease ctx;
  constexpr std::pair<View AttentionGradients::*, Index> kGradients[] = {
      {&AttentionGradients::d_q, 4},
      {&AttentionGradients::d_k, 4},
      {&AttentionGradients::d_v, 4},
      {&AttentionGradients::d_bias, 4},
      {&AttentionGradients::d_sinks, 1}};
  const Index calls = count_calls(call.argument(0), 4);
  const Index first =
      call.num_arguments() - std::popcount(static_cast<std::uint64_t>(settings.present));
  for (Index n = 0; n < calls; ++n) {
    const Operands x = operands_of(call, settings, first, n);
    AttentionGradients g{.d_out = settings.heads(view_of(call.argument(0), 4, n))};
    if (first > 3) g.d_scores = view_of(call.argument(3), 4, n);
    Index result = 0;
    for (std::size_t i = 0; i < std::size(kGradients); ++i) {
      if ((settings.needs >> i & 1) == 0) continue;
      const View gradient = view_of(call.result(result++), kGradients[i].second, n);
      g.*kGradients[i].first = i < 3 ? settings.heads(gradient) : gradient;
    }
    attention_backward(*ctx, x.heads[0], x.heads[1], x.heads[2], x.options,
                       settings.heads(view_of(call.argument(1), 4, n)),
                       view_of(call.argument(2), 4, n), g);
  }
}

// What XLA calls: an error, or null. It asks once which version this is; that is its own, since
// nothing here differs between those of version 0.
template <void (*run)(const Call&)>
void* handle(xla::CallFrame* frame) {
  for (xla::Extension* e = frame->extensions; e != nullptr; e = e->next) {
    if (e->type != 1) continue;
    xla::Metadata& metadata = *reinterpret_cast<xla::MetadataExtension*>(e)->metadata;
    metadata.version.major = frame->api->version.major;
    metadata.version.minor = frame->api->version.minor;
    metadata.traits = 0;
    return nullptr;
  }
  try {
    run(Call(*frame));
    return nullptr;
  } catch (const std::exception& error) {
    xla::ErrorArguments arguments{sizeof(arguments), nullptr, error.what(), 3};
    return frame->api->create_error(&arguments);
  }
}

}  // namespace

void define_jax(nb::module_& m) {
  nb::list names;
  for (const Operand& operand : std::span(kOperands).subspan(3)) names.append(operand.name);
  m.attr("_array_options") = nb::tuple(names);
  m.attr("_jax_handlers") =
      nb::make_tuple(nb::capsule(reinterpret_cast<void*>(&handle<run_forward>)),
                     nb::capsule(reinterpret_cast<void*>(&handle<run_backward>)));
}

}  // namespace grouphead::python
