#pragma once

// Models that read a text step by step, against the whole pass.

#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <vector>

#include "grouphead/grouphead.h"

namespace grouphead::testing_support {

using Tokens = std::vector<std::int32_t>;

inline Tokens text_of(Index length, Index vocabulary) {
  Tokens tokens;
  for (Index i = 0; i < length; ++i) {
    tokens.push_back(static_cast<std::int32_t>(1 + i * i * 7 % (vocabulary - 1)));
  }
  return tokens;
}

/// Logits of the whole text at once, [T, V].
inline Tensor whole_pass(Context& ctx, const Model& model, const Tokens& text) {
  const Shape shape{1, static_cast<Index>(text.size())};
  std::vector<Tensor> in;
  for (const Symbol& input : model.inputs()) {
    const Tensor given = input.name() == "padding_mask"
                             ? Tensor::from<float>(shape, std::vector<float>(text.size(), 1))
                             : Tensor::from<std::int32_t>(shape, text);
    in.push_back(cast(given, input.dtype()));
  }
  const Tensor out = model(ctx, in).front();
  return out.reshaped({shape[1], out.dim(2)});
}

/// Reads in pieces of these lengths, and compares with the whole pass.
inline void expect_same(Context& ctx, const Model& model, const Tokens& text,
                        std::initializer_list<Index> pieces, bool are_probabilities = false) {
  const Tensor want = whole_pass(ctx, model, text);
  const auto decoder = make_decoder(ctx, model, {.capacity = static_cast<Index>(text.size())});
  ASSERT_EQ(decoder->vocab_size(), want.dim(1));
  Index done = 0;
  for (const Index piece : pieces) {
    Tensor got({piece, want.dim(1)});
    decoder->read(ctx, ConstView(text.data() + done, {piece}), got);
    for (Index i = 0; i < got.size(); ++i) {
      const double expected = want.data<float>()[done * want.dim(1) + i];
      const double made = got.data<float>()[i];
      ASSERT_NEAR(are_probabilities ? std::exp(made) : made, expected, 2e-5)
          << "position " << done + i / want.dim(1);
    }
    done += piece;
  }
  EXPECT_EQ(decoder->length(), static_cast<Index>(text.size()));
}

}  // namespace grouphead::testing_support
