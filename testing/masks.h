#pragma once

#include "testing/problem.h"

namespace grouphead::testing {

/// Whether query t of batch entry b sees key s, by all words of an attention problem.
bool is_visible(const Problem& problem, Index b, Index t, Index s);

/// Number of (query, key) pairs of one head that attention looks at, over the batch.
double count_visible(const Problem& problem);

/// The mask of `mask=bool`, [B, 1, T, S]: blocks of 64 x 64 positions, drawn by the seed, of which
/// one in eight hides all, four show all and three hide every third key.
Tensor make_block_mask(const Problem& problem);

/// The mask of `mask=key`, [B, S]: the first keys, at least half of them.
Tensor make_key_mask(const Problem& problem);

/// The lengths of `lengths`, [B]: at least half of the keys.
Tensor make_lengths(const Problem& problem);

/// Where the sequences of `packed=` begin and end among `length` positions, [packed + 1].
Tensor make_segments(const Problem& problem, Index length);

}  // namespace grouphead::testing
