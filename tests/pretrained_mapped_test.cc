// Weights that stay in the mapped file of a Hugging Face folder.

#include <gmock/gmock.h>

#include "allocation_counter.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/files/pretrained.h"
#include "grouphead/files/tensors.h"
#include "io/file.h"
#include "io/json.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

const fs::path kMappedCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";

class PretrainedMapped : public FolderTest {
 protected:
  fs::path file() const { return folder_ / "model.safetensors"; }
  /// Writes the folder's numbers in another type.
  void store_as(Dtype dtype) const {
    std::map<std::string, Tensor> tensors = read_tensors(file());
    for (auto& [name, tensor] : tensors) tensor = cast(tensor, dtype);
    write_tensors(file(), tensors);
  }
  /// A golden case with its numbers in this type.
  void make_case(const std::string& name, Dtype dtype) const {
    save_pretrained(load_pretrained(kMappedCases / name), folder_);
    store_as(dtype);
  }
  /// A random llama of 12,000 words.
  void make_llama(Dtype dtype) const {
    ConfigValue config =
        io::parse_json(io::read_file(kMappedCases / "llama/config.json"), "config");
    for (const auto& [key, size] : {std::pair<const char*, Index>("vocab_size", 12000),
                                    {"hidden_size", 256},
                                    {"intermediate_size", 512},
                                    {"num_hidden_layers", 3},
                                    {"num_attention_heads", 8},
                                    {"num_key_value_heads", 2},
                                    {"head_dim", 32}}) {
      config.set(key, size);
    }
    save_pretrained(make_pretrained(config, 3), folder_);
    store_as(dtype);
  }
  /// Lengthens the header by a byte, so that no number lies at an address of its type's.
  void misalign() const {
    std::string bytes = io::read_file(file());
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    bytes.insert(sizeof header + header, header % 2 == 0 ? " " : "  ");
    header += header % 2 == 0 ? 1 : 2;
    std::memcpy(bytes.data(), &header, sizeof header);
    io::write_file(file(), bytes);
  }
  Index file_bytes() const { return static_cast<Index>(fs::file_size(file())); }
};

const Dtype kStoredTypes[] = {Dtype::f32, Dtype::bf16, Dtype::f16};

Tensor some_tokens() { return random_tokens({1, 6}, 20, 4); }

void own_weights(PretrainedModel& loaded) {
  for (const NamedParameter& one : loaded.model->parameters()) one.parameter->edit();
}

TEST_F(PretrainedMapped, LoadingTakesNoMemoryForWeights) {
  for (const Dtype dtype : kStoredTypes) {
    make_llama(dtype);
    PretrainedModel loaded;
    const auto taken = allocations_of([&] { loaded = load_pretrained(folder_); });
    EXPECT_LT(static_cast<Index>(taken.bytes), file_bytes() / 20) << name_of(dtype);
    const auto owned = allocations_of([&] { own_weights(loaded); });
    EXPECT_GE(static_cast<Index>(owned.bytes), 4 * file_bytes() / size_of(dtype) - 100000);
  }
}

// The packed copies are the only ones: of f32 weights as large as the file, of bf16 ones too where
// products read bf16.
TEST_F(PretrainedMapped, RunningTakesOneCopyOfTheWeights) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    make_llama(dtype);
    Context ctx({.num_threads = 1});
    PretrainedModel loaded;
    const auto taken = allocations_of([&] {
      loaded = load_pretrained(folder_);
      if (dtype == Dtype::bf16) pack_weights(loaded.model->parameters(), dtype);
      (*loaded.model)(ctx, {.tokens = some_tokens()});
    });
    EXPECT_LE(static_cast<double>(taken.bytes), 1.1 * static_cast<double>(file_bytes()))
        << name_of(dtype);
  }
}

TEST_F(PretrainedMapped, MappedWeightsComputeWhatOwnOnesDo) {
  for (const Dtype dtype : kStoredTypes) {
    for (const char* const family : {"llama", "llama_bias_tied", "phi3", "gpt2", "mixtral"}) {
      SCOPED_TRACE(std::string(family) + " " + std::string(name_of(dtype)));
      make_case(family, dtype);
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 2, .isa = isa});
        const PretrainedModel mapped = load_pretrained(folder_);
        PretrainedModel owned = load_pretrained(folder_);
        own_weights(owned);
        for (const Dtype form : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
          pack_weights(mapped.model->parameters(), form);
          pack_weights(owned.model->parameters(), form);
          EXPECT_TRUE(same_bits((*mapped.model)(ctx, {.tokens = some_tokens()}),
                                (*owned.model)(ctx, {.tokens = some_tokens()})))
              << name_of(isa) << " " << name_of(form);
        }
      }
    }
  }
}

// A tensor of several parameters is one copy too.
TEST_F(PretrainedMapped, MisalignedWeightsAreCopiedOnce) {
  Context ctx({.num_threads = 1});
  for (const Dtype dtype : kStoredTypes) {
    for (const char* const family : {"gpt2", "phi3", "mixtral", "gpt_oss"}) {
      SCOPED_TRACE(std::string(family) + " " + std::string(name_of(dtype)));
      make_case(family, dtype);
      PretrainedModel aligned;
      const auto before = allocations_of([&] { aligned = load_pretrained(folder_); });
      const Tensor want = (*aligned.model)(ctx, {.tokens = some_tokens()});
      misalign();
      PretrainedModel misaligned;
      const auto taken = allocations_of([&] { misaligned = load_pretrained(folder_); });
      EXPECT_LT(taken.bytes - before.bytes, file_bytes());
      EXPECT_TRUE(same_bits((*misaligned.model)(ctx, {.tokens = some_tokens()}), want));
    }
  }
}

TEST_F(PretrainedMapped, TablesAreReadHoweverTheyAreShared) {
  Context ctx({.num_threads = 1});
  make_case("llama_bias_tied", Dtype::f32);
  const PretrainedModel loaded = load_pretrained(folder_);
  const Tensor want = (*loaded.model)(ctx, {.tokens = some_tokens()});
  Parameter* table = nullptr;
  for (const NamedParameter& one : loaded.model->parameters()) {
    if (one.parameter->name() == "tokens") table = one.parameter;
  }
  ASSERT_NE(table, nullptr);
  const Index rows = table->shape()[0];
  const Index width = table->shape()[1];
  const Tensor numbers = Tensor::wrap(table->value()).clone();
  Tensor by_column({width, rows});
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < width; ++c) {
      by_column.data<float>()[c * rows + r] = numbers.data<float>()[r * width + c];
    }
  }
  const void* const transposed = by_column.view().raw();
  for (const ConstView& matrix :
       {ConstView(transposed, Dtype::f32, {rows, width}, Strides{1, rows}),
        ConstView(numbers.view()).reshaped({1, rows * width})}) {
    table->share(matrix, {});
    EXPECT_TRUE(same_bits((*loaded.model)(ctx, {.tokens = some_tokens()}), want));
  }
}

TEST_F(PretrainedMapped, GradientsAreThoseOfOwnWeights) {
  Context ctx({.num_threads = 1});
  for (const Dtype dtype : kStoredTypes) {
    make_case("llama_bias_tied", dtype);
    std::vector<Tensor> gradients[2];
    for (const bool owns : {false, true}) {
      PretrainedModel loaded = load_pretrained(folder_);
      if (owns) own_weights(loaded);
      TransformerModel& model = *loaded.model;
      const std::vector<Value> in = {{some_tokens()}};
      std::unique_ptr<Saved> saved;
      const std::vector<Value> out = model.forward(ctx, in, {.training = true}, &saved);
      const ConstView d_out = out[0].tensor.view();
      Grads grads(ctx, model.parameters());
      View none;
      model.backward(ctx, *saved, std::span(&d_out, 1), std::span(&none, 1), grads);
      for (const NamedParameter& one : model.parameters()) {
        gradients[owns ? 1 : 0].push_back(Tensor(grads.of(*one.parameter), {}).clone());
      }
    }
    for (std::size_t i = 0; i < gradients[0].size(); ++i) {
      EXPECT_TRUE(same_bits(gradients[0][i], gradients[1][i])) << i << " " << name_of(dtype);
    }
  }
}

TEST_F(PretrainedMapped, EditingChangesTheModelAndNotTheFile) {
  Context ctx({.num_threads = 1});
  make_case("gpt2", Dtype::f32);
  const std::string before = io::read_file(file());
  const PretrainedModel loaded = load_pretrained(folder_);
  const Tensor want = (*loaded.model)(ctx, {.tokens = some_tokens()});
  for (const NamedParameter& one : loaded.model->parameters()) {
    const ConstView value = one.parameter->value();
    Tensor twice(value.shape());
    for (Index i = 0; i < value.size(); ++i) {
      twice.data<float>()[i] = 2 * value.data<float>()[i];
    }
    copy(twice, one.parameter->edit());
    EXPECT_TRUE(same_bits(Tensor::wrap(one.parameter->value()), twice)) << one.path;
  }
  EXPECT_FALSE(same_bits((*loaded.model)(ctx, {.tokens = some_tokens()}), want));
  EXPECT_EQ(io::read_file(file()), before);
  EXPECT_TRUE(same_bits((*load_pretrained(folder_).model)(ctx, {.tokens = some_tokens()}), want));
}

TEST_F(PretrainedMapped, AFileThatIsReplacedStaysWhatItWas) {
  Context ctx({.num_threads = 1});
  make_case("llama", Dtype::f32);
  const PretrainedModel loaded = load_pretrained(folder_);
  const PretrainedModel same = load_pretrained(folder_);
  const Tensor want = (*same.model)(ctx, {.tokens = some_tokens()});
  save_pretrained(load_pretrained(kMappedCases / "gpt2"), folder_);
  EXPECT_EQ(load_pretrained(folder_).family, "gpt2");
  EXPECT_TRUE(same_bits((*loaded.model)(ctx, {.tokens = some_tokens()}), want));
  save_pretrained(loaded, folder_);  // of weights whose file has no name any more
  EXPECT_TRUE(same_bits((*load_pretrained(folder_).model)(ctx, {.tokens = some_tokens()}), want));
}

TEST(SharedParameters, TakeAMatrixOfTheirSizeAlone) {
  Parameter parameter("kernel", {2, 3}, {});
  const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto refusal = [&](ConstView matrix) {
    return error_of<ShapeError>([&] { parameter.share(matrix, {}); });
  };
  EXPECT_EQ(refusal({numbers, {2, 4}}), "[share] kernel: expected 6 elements, got [2, 4]");
  EXPECT_EQ(refusal({numbers, Dtype::f32, {2, 2}, Strides{4, 2}}),
            "[share] kernel: expected 6 elements, got [2, 2]");
  EXPECT_EQ(refusal({numbers, Dtype::f32, {3, 2}, Strides{2, 2}}),
            "[share] kernel: expected rows or columns of neighbouring elements, got other strides");
  EXPECT_EQ(refusal({numbers, Dtype::i32, {2, 3}}),
            "[share] kernel: expected a floating type, got i32");
  const void* const inside = reinterpret_cast<const std::byte*>(numbers) + 1;
  EXPECT_EQ(refusal({inside, Dtype::f32, {2, 3}}),
            "[share] kernel: expected an address of whole elements, got another");
  parameter.share({numbers, Dtype::f32, {2, 3}, Strides{1, 2}}, {});
  const Tensor want = Tensor::from({2, 3}, {1, 3, 5, 2, 4, 6});
  EXPECT_TRUE(same_bits(Tensor::wrap(parameter.value()), want));
  EXPECT_EQ(parameter.source().raw(), numbers);
  parameter.edit().data<float>()[0] = 9;
  EXPECT_EQ(numbers[0], 1);
  EXPECT_EQ(parameter.source().data<float>()[0], 9);
}

}  // namespace
}  // namespace grouphead
