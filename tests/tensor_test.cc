#include "grouphead/core/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "grouphead/core/context.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead {
namespace {

TEST(Shape, RefusesNegativeAxesAndOverflow) {
  EXPECT_THROW(Shape({2, -1}), ShapeError);
  EXPECT_THROW(Shape({Index{1} << 40, Index{1} << 40}), ShapeError);
  EXPECT_THROW(Shape({0, Index{1} << 40, Index{1} << 40}), ShapeError);
  EXPECT_THROW(Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
  EXPECT_EQ(Shape({2, 0, 3}).size(), 0);
  EXPECT_EQ(Shape({}).size(), 1);
  EXPECT_EQ(Shape({2, 3}).to_string(), "[2, 3]");
}

TEST(View, AbsentIsNotEmpty) {
  EXPECT_FALSE(ConstView().has_value());
  EXPECT_TRUE(ConstView(static_cast<const float*>(nullptr), {0}).has_value());
}

TEST(View, SliceAndReshapeKeepTheElements) {
  Tensor x({2, 3, 4});
  for (Index i = 0; i < 24; ++i) x.data<float>()[i] = static_cast<float>(i);
  const ConstView part = x.view().slice(1, 1, 3);
  EXPECT_EQ(part.shape(), Shape({2, 2, 4}));
  EXPECT_FALSE(part.is_contiguous());
  Tensor dense({2, 2, 4});
  copy(part, dense);
  EXPECT_EQ(dense.data<float>()[0], 4.0F);
  EXPECT_EQ(dense.data<float>()[8], 16.0F);
  fill_zero(x.view().slice(1, 1, 3));
  EXPECT_EQ(x.data<float>()[3], 3.0F);
  EXPECT_EQ(x.data<float>()[4], 0.0F);
  EXPECT_THROW(part.reshaped({16}), ShapeError);
  EXPECT_THROW(x.view().slice(1, 2, 4), ShapeError);
  EXPECT_THROW(x.view().reshaped({5, 5}), ShapeError);
}

TEST(View, TheWrongElementTypeIsRefusedByName) {
  const Tensor x({2}, Dtype::f64);
  try {
    x.data<float>();
    FAIL() << "no error";
  } catch (const ShapeError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("expected f32, got f64"));
  }
}

TEST(Tensor, CopiesShareAndClonesDoNot) {
  Tensor a = Tensor::from({2}, {1.0F, 2.0F});
  Tensor shared = a;
  const Tensor own = a.clone();
  shared.data<float>()[0] = 5.0F;
  EXPECT_EQ(a.data<float>()[0], 5.0F);
  EXPECT_EQ(own.data<float>()[0], 1.0F);
  EXPECT_THROW(Tensor::from({3}, {1.0F}), ShapeError);
}

TEST(Tensor, OutlivesItsContext) {
  Tensor x;
  {
    Context ctx({.num_threads = 1});
    x = ctx.zeros({100});
  }
  EXPECT_EQ(x.data<float>()[99], 0.0F);
}

TEST(Context, ReusesMemoryAndCountsThePeak) {
  Context ctx({.num_threads = 1});
  const void* first = nullptr;
  {
    Tensor x = ctx.tensor({1000});
    first = x.view().raw();
    EXPECT_GE(ctx.memory().in_use_bytes, 4000);
    EXPECT_LE(ctx.memory().in_use_bytes, 4000 * 9 / 8 + 128);
  }
  EXPECT_EQ(ctx.memory().in_use_bytes, 0);
  EXPECT_GE(ctx.memory().peak_bytes, 4000);
  Tensor y = ctx.tensor({1000});
  EXPECT_EQ(y.view().raw(), first);
  y = Tensor();
  ctx.release_unused_memory();
  EXPECT_EQ(ctx.memory().reserved_bytes, 0);
}

TEST(Context, RefusesWhatTheProcessorCannotRun) {
  EXPECT_THROW(Context({.num_threads = -1}), ConfigError);
  EXPECT_THROW(isa_from_name("avx9"), ConfigError);
  for (const Isa isa : available_isas()) {
    Context ctx({.num_threads = 1, .isa = isa});
    EXPECT_EQ(ctx.isa(), isa);
    EXPECT_EQ(isa_from_name(name_of(isa)), isa);
  }
}

TEST(HalfTypes, EveryF16SurvivesTheRoundTripAndRoundingIsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_f16(value))));
    } else {
      ASSERT_EQ(to_f16(value).bits, half.bits) << value;
    }
  }
  EXPECT_EQ(to_float(to_f16(65519.0F)), 65504.0F);
  EXPECT_TRUE(std::isinf(to_float(to_f16(65520.0F))));
  EXPECT_EQ(to_float(to_f16(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(to_float(to_f16(1.0F + 0x3p-11F)), 1.0F + 0x1p-9F);
  EXPECT_EQ(to_float(to_f16(0x1p-25F)), 0.0F);
  EXPECT_EQ(to_float(to_f16(0x1.8p-25F)), 0x1p-24F);
  EXPECT_EQ(to_float(to_bf16(1.0F + 0x1p-8F)), 1.0F);
  EXPECT_EQ(to_float(to_bf16(1.0F + 0x3p-8F)), 1.0F + 0x1p-6F);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Tensor, KeepsTheOwnerOfItsElements) {
  auto owner = std::make_shared<std::vector<double>>(std::vector<double>{1, 2, 3});
  const std::weak_ptr<std::vector<double>> watched = owner;
  Tensor tensor(View(owner->data(), Shape{3}), owner);
  owner.reset();
  Tensor shared = tensor.reshaped({3, 1});
  tensor = Tensor();
  EXPECT_EQ(shared.data<double>()[2], 3);
  EXPECT_FALSE(watched.expired());
  { const Tensor last = shared; }
  EXPECT_FALSE(watched.expired());
  shared = Tensor();
  EXPECT_TRUE(watched.expired());
}

TEST(Tensor, RefusesElementsThatItCannotShare) {
  double numbers[6] = {};
  const View rows(numbers, Shape{2, 3});
  EXPECT_THROW(Tensor(View(), nullptr), ShapeError);
  EXPECT_THROW(Tensor(rows.slice(1, 0, 2), nullptr), ShapeError);
  void* odd = reinterpret_cast<char*>(numbers) + 4;
  EXPECT_THROW(Tensor(View(odd, Dtype::f64, Shape{2}), nullptr), ShapeError);
  EXPECT_NO_THROW(Tensor(View(odd, Dtype::f32, Shape{2}), nullptr));
}

TEST(Tensor, ADefaultOneHasNoElements) {
  EXPECT_EQ(Tensor().size(), 0);
  EXPECT_EQ(Tensor().bytes(), 0);
  EXPECT_EQ(ConstView().size(), 0);
  EXPECT_FALSE(View().has_value());
  EXPECT_EQ(Tensor(Shape{}).size(), 1);
}

TEST(Shape, PartialRefusesMoreElementsThanATensorHas) {
  constexpr Index kMany = (Index{1} << 62) + 1;
  try {
    Shape::partial({kMany, 4});
    FAIL() << "no error";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[shape] size: expected fewer than 2^59 elements, got more");
  }
  EXPECT_THROW(Shape::partial({-1, Index{1} << 40, Index{1} << 40}), ShapeError);
  EXPECT_EQ(Shape::partial({-1, 3}).to_string(), "[-1, 3]");
  EXPECT_THROW(ConstView(static_cast<const float*>(nullptr), Shape::partial({-1, 3})), ShapeError);
  EXPECT_THROW(Tensor(Shape::partial({-1, 3})), ShapeError);
}

TEST(Tensor, WrapsConstMemoryForReading) {
  const std::vector<float> mine = {1, 2, 3, 4, 5, 6};
  const auto owner = std::make_shared<int>(0);
  Tensor x = Tensor::wrap({mine.data(), {2, 3}}, owner);
  EXPECT_EQ(owner.use_count(), 2);
  EXPECT_TRUE(x.is_read_only());
  const ConstView seen = x;
  EXPECT_EQ(seen.raw(), mine.data());
  EXPECT_EQ(std::as_const(x).data<float>()[4], 5.0F);
  const auto refused = [](auto&& call) {
    try {
      call();
    } catch (const ShapeError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string refusal =
      "[tensor] write access: expected memory that may be written, got const memory";
  Tensor shared = x, reshaped = x.reshaped({6});
  EXPECT_EQ(refused([&] { x.data<float>(); }), refusal);
  EXPECT_EQ(refused([&] { x.view(); }), refusal);
  EXPECT_EQ(refused([&] { fill_zero(shared); }), refusal);
  EXPECT_EQ(refused([&] { fill_zero(reshaped); }), refusal);
  Tensor copied = x.clone();
  fill_zero(copied);
  EXPECT_EQ(mine[0], 1.0F);
  shared = copied;
  EXPECT_FALSE(shared.is_read_only());
  x = reshaped = Tensor();
  EXPECT_EQ(owner.use_count(), 1);
  EXPECT_EQ(refused([&] {
              Tensor::wrap({mine.data(), Dtype::f32, {2, 2}, {3, 1}});
            }),
            "[tensor] elements: expected contiguous elements, got a strided view");
}

TEST(TensorFunctions, CastsRoundCutAndClamp) {
  const Tensor x = Tensor::from({5}, {-1.5F, 2.75F, 300.0F, 1e20F, NAN});
  EXPECT_EQ(to_string(cast(x, Dtype::i32)), "i32 [5] [-1, 2, 300, 2147483647, 0]");
  EXPECT_EQ(to_string(cast(x, Dtype::u8)), "u8 [5] [0, 2, 255, 255, 0]");
  EXPECT_EQ(to_string(cast(x, Dtype::boolean)), "bool [5] [true, true, true, true, true]");
  EXPECT_EQ(to_string(cast(x, Dtype::bf16)), "bf16 [5] [-1.5, 2.75, 300, 9.97277e+19, nan]");
  const std::int64_t large[] = {-5, 255, 256};
  EXPECT_EQ(to_string(cast({large, {3}}, Dtype::u8)), "u8 [3] [0, 255, 255]");
  EXPECT_EQ(to_string(cast({large, {3}}, Dtype::f64)), "f64 [3] [-5, 255, 256]");
  const ConstView column(x.view().raw(), Dtype::f32, {2}, {2});
  EXPECT_EQ(to_string(cast(column, Dtype::f64)), "f64 [2] [-1.5, 300]");
}

TEST(TensorFunctions, SlicesAndTexts) {
  Tensor x({3, 4});
  for (Index i = 0; i < 12; ++i) x.data<float>()[i] = static_cast<float>(i);
  EXPECT_EQ(to_string(slice(x, 1, 1, 3)), "f32 [3, 2] [[1, 2], [5, 6], [9, 10]]");
  EXPECT_EQ(to_string(x, 2), "f32 [3, 4] [[0, ..., 3], ..., [8, ..., 11]]");
  EXPECT_EQ(to_string(Tensor::zeros({})), "f32 [] 0");
  EXPECT_EQ(to_string(Tensor::zeros({2, 0})), "f32 [2, 0] [[], []]");
  EXPECT_EQ(to_string(ConstView()), "absent");
  EXPECT_THROW(contiguous({}), ShapeError);
}

}  // namespace
}  // namespace grouphead
