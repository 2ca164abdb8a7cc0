// Edifice's stack against the golden files of tests/golden/edifice.

#include <filesystem>

#include "model_support.h"
#include "testing/edifice_case.h"

namespace grouphead {
namespace {

using edifice::GqaOptions;
using edifice::OutputMode;
using io::Safetensors;
using testing::EdificeCase;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

// What the files' README suggests: float32 runs of the same formulas stay below 6e-6, and the
// wrong rule is off by 1.9 and more. Stored values are float32: up to 2.4e-7 away below 4.
constexpr double kBoundF32 = 5e-5;
constexpr double kBoundF64 = 1e-6;

double bound_for(Dtype dtype) { return dtype == Dtype::f64 ? kBoundF64 : kBoundF32; }

struct GoldenFile {
  std::string name;
  Safetensors contents;
  Tensor input(Dtype dtype) const { return converted(contents.at("input.state_sequence"), dtype); }
};

const std::vector<GoldenFile>& golden_files() {
  static const std::vector<GoldenFile> files = [] {
    std::vector<GoldenFile> found;
    for (const char* name : {"gqa_tiny", "gqa_norope", "gqa_rope", "gqa_yarn"}) {
      const auto path = std::filesystem::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/edifice" /
                        (std::string(name) + ".safetensors");
      found.push_back({name, io::read_safetensors(path)});
    }
    return found;
  }();
  return files;
}

// body(ctx, dtype) for each level under test, and once in float64.
template <class Body>
void for_each_arithmetic(Body&& body) {
  for (const Isa isa : isas_under_test()) {
    SCOPED_TRACE(std::string(name_of(isa)));
    Context ctx({.num_threads = 2, .isa = isa});
    body(ctx, Dtype::f32);
  }
  Context ctx;
  body(ctx, Dtype::f64);
}

TEST(EdificeGolden, FilesHoldWhatTheirReadmeLists) {
  std::vector<std::string> found;
  for (const GoldenFile& file : golden_files()) {
    for (const EdificeCase& one : testing::edifice_cases(file.contents)) {
      found.push_back(file.name + ":" + one.tensor + ":" + one.rule);
    }
  }
  const std::vector<std::string> listed = {
      "gqa_tiny:expected.all:none",
      "gqa_tiny:expected.all_rope:rope",
      "gqa_tiny:expected.all_yarn:yarn",
      "gqa_tiny:expected.output:none",
      "gqa_tiny:expected.output_rope:rope",
      "gqa_tiny:expected.output_yarn:yarn",
      "gqa_norope:expected.all:none",
      "gqa_norope:expected.output:none",
      "gqa_rope:alt.rope_interleaved.output:rope_interleaved",
      "gqa_rope:expected.all:rope",
      "gqa_rope:expected.output:rope",
      "gqa_yarn:alt.rope_plain.output:rope_plain",
      "gqa_yarn:alt.yarn_index_ramp.output:yarn_index_ramp",
      "gqa_yarn:alt.yarn_paper.output:yarn_paper",
      "gqa_yarn:alt.yarn_paper_no_mscale.output:yarn_paper_no_mscale",
      "gqa_yarn:expected.all:yarn",
      "gqa_yarn:expected.output:yarn"};
  EXPECT_EQ(found, listed);
}

TEST(EdificeGolden, EveryResultIsReproduced) {
  for_each_arithmetic([](Context& ctx, Dtype dtype) {
    for (const GoldenFile& file : golden_files()) {
      for (const EdificeCase& one : testing::edifice_cases(file.contents)) {
        GqaOptions options = testing::edifice_options(file.contents, one.rule);
        options.output_mode = one.output_mode;
        options.dtype = dtype;
        const auto model = testing::edifice_model(file.contents, options);
        CHECK_CLOSE((*model)(ctx, file.input(dtype)), file.contents.at(one.tensor),
                    bound_for(dtype), file.name + " " + one.tensor);
      }
    }
  });
}

TEST(EdificeGolden, ChunksThroughTheCacheGiveTheFullRun) {
  for_each_arithmetic([](Context& ctx, Dtype dtype) {
    for (const GoldenFile& file : golden_files()) {
      for (const EdificeCase& one : testing::edifice_cases(file.contents)) {
        if (one.output_mode != OutputMode::all) continue;
        GqaOptions options = testing::edifice_options(file.contents, one.rule);
        options.dtype = dtype;
        const auto model = testing::edifice_model(file.contents, options);
        const Tensor x = file.input(dtype);
        const Index length = x.dim(1);
        const Tensor& want = file.contents.at(one.tensor);
        for (const Index chunk : {Index{1}, Index{2}, Index{7}, Index{16}, length - 1, length}) {
          KvCache cache = model->make_cache(ctx, x.dim(0), length);
          for (Index at = 0; at < length; at += chunk) {
            const Index end = std::min(at + chunk, length);
            const Tensor part = dense(x.view().slice(1, at, end));
            CHECK_CLOSE(model->step(ctx, part, cache), dense(want.view().slice(1, at, end)),
                        bound_for(dtype), file.name + " " + one.tensor + " in chunks");
            EXPECT_EQ(cache.length(), end);
          }
        }
      }
    }
  });
}

TEST(EdificeGolden, StagesOfTheFirstBlockAreReproduced) {
  for_each_arithmetic([](Context& ctx, Dtype dtype) {
    for (const GoldenFile& file : golden_files()) {
      for (const EdificeCase& one : testing::edifice_cases(file.contents)) {
        if (one.output_mode != OutputMode::all) continue;
        const bool is_own = one.tensor == "expected.all";
        const std::string trace = is_own ? "trace." : "trace_" + one.rule + ".";
        const auto stage = [&](const std::string& name) -> const Tensor& {
          return file.contents.at(trace + name);
        };
        GqaOptions options = testing::edifice_options(file.contents, one.rule);
        options.dtype = dtype;
        options.num_layers = 1;
        options.final_norm = false;
        options.output_mode = OutputMode::all;
        const auto block = testing::edifice_model(file.contents, options);
        CHECK_CLOSE((*block)(ctx, file.input(dtype)), stage("block_1.out"), bound_for(dtype),
                    file.name + " " + trace + "block_1.out");

        options.embed_dim = options.hidden_size;
        const auto attention = edifice::build_gqa_attention(options, "gqa_block_1_attn");
        for (const auto& entry : attention->parameters()) {
          const std::string name = edifice::edifice_name(attention->name() + "/" + entry.path);
          convert(file.contents.at("param." + name).view().reshaped(entry.parameter->shape()),
                  entry.parameter->edit());
        }
        const Tensor n = converted(stage("block_1.attn_norm"), dtype);
        CHECK_CLOSE((*attention)(ctx, {.query = n, .value = n}), stage("block_1.attn_out"),
                    bound_for(dtype), file.name + " " + trace + "block_1.attn_out");
      }
    }
  });
}

// Section 12 of the specification: weights by formula, results to six decimals.
double worked_weight(std::string_view name, Index i, Index j) {
  const auto entry = [&](Index a, Index b, Index c, double scale) {
    return static_cast<double>((a * i + b * j + c) % 7 - 3) / scale;
  };
  if (name.ends_with(".bias")) return static_cast<double>(j % 5 - 2) / 16;
  if (name.ends_with(".gamma")) return 1 + static_cast<double>(j % 3 - 1) / 8;
  if (name.ends_with(".beta")) return static_cast<double>(j % 4 - 1) / 16;
  if (name == "input_projection.kernel") return entry(3, 5, 0, 4);
  if (name == "gqa_block_1_attn_q_proj.kernel") return entry(5, 3, 1, 4);
  if (name == "gqa_block_1_attn_k_proj.kernel") return entry(3, 2, 2, 4);
  if (name == "gqa_block_1_attn_v_proj.kernel") return entry(2, 5, 3, 4);
  if (name == "gqa_block_1_attn_out_proj.kernel") return entry(4, 3, 4, 8);
  if (name == "gqa_block_1_ffn_up.kernel") return entry(3, 4, 5, 8);
  if (name == "gqa_block_1_ffn_down.kernel") return entry(5, 2, 6, 8);
  ADD_FAILURE() << "no formula for " << name;
  return 0;
}

Index columns_of(const std::string& name) {
  if (name.find("_proj.kernel") == std::string::npos)
    return name == "gqa_block_1_ffn_up.kernel" ? 32 : 8;
  return name.find("k_proj") != std::string::npos || name.find("v_proj") != std::string::npos ? 4
                                                                                              : 8;
}

TEST(EdificeGolden, TheWorkedExampleComesOutAsPrinted) {
  struct Variant {
    bool rope, yarn;
    std::initializer_list<float> output;
  };
  const Variant variants[] = {
      {false,
       false,
       {-0.490252F, 0.632881F, 0.823524F, -1.676151F, 1.525996F, -0.233054F, 0.184448F,
        -0.157735F}},
      {true,
       false,
       {1.074302F, -0.441329F, -0.116556F, -0.990523F, -0.289515F, 0.671317F, -1.090426F,
        1.649090F}},
      {false,
       true,
       {0.676165F, 0.142763F, 0.610908F, -1.606494F, 0.258232F, 0.431757F, -1.068323F, 1.217278F}}};
  Context ctx;
  for (const Variant& variant : variants) {
    const auto model = edifice::build({.embed_dim = 3,
                                       .hidden_size = 8,
                                       .num_heads = 4,
                                       .num_key_value_heads = 2,
                                       .num_layers = 1,
                                       .rope = variant.rope,
                                       .yarn = variant.yarn,
                                       .yarn_scale = 4,
                                       .yarn_original_max_position = 12,
                                       .dtype = Dtype::f64});
    for (const auto& entry : model->parameters()) {
      const std::string name = edifice::edifice_name(entry.path);
      const View value = entry.parameter->edit();
      const bool is_matrix = name.ends_with(".kernel");
      const Index columns = is_matrix ? columns_of(name) : value.size();
      for (Index k = 0; k < value.size(); ++k) {
        value.data<double>()[k] = worked_weight(name, k / columns, k % columns);
      }
    }
    const Tensor x = converted(
        Tensor::from({1, 3, 3}, {1, 0.5F, -1, -0.5F, 2, 0.25F, 0.75F, -1.5F, 1.25F}), Dtype::f64);
    CHECK_CLOSE((*model)(ctx, x), Tensor::from({1, 8}, variant.output), kBoundF64,
                "worked example");
  }
}

}  // namespace
}  // namespace grouphead
