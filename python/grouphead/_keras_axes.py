"""Attention over several axes, as `attention_axes` names them, brought to the kernels' form."""

import math

from keras import ops


class Axes:
    """How projected queries [..., N, H] become [B, T, N, H], and results come back.

    The attention axes join one axis of positions; all others in front join the batch.
    """

    def __init__(self, attention_axes, rank):
        self._batch = [i for i in range(rank - 2) if i not in attention_axes]
        self._attention = list(attention_axes)
        self._order = [*self._batch, *self._attention, rank - 2, rank - 1]

    def joined(self, x):
        turned = ops.transpose(x, self._order)
        return ops.reshape(turned, (*map(math.prod, self._sizes(x)), *x.shape[-2:]))

    def _sizes(self, x):
        """Of the axes that join the batch, and of those that join the positions."""
        return [x.shape[i] for i in self._batch], [x.shape[i] for i in self._attention]

    def split(self, out, query):
        """[B, T, N, H] in the form of the projected query."""
        batch, rows = self._sizes(query)
        out = ops.reshape(out, (*batch, *rows, *out.shape[-2:]))
        back = [self._order.index(i) for i in range(len(self._order))]
        return ops.transpose(out, back)

    def split_scores(self, scores, query, key):
        """[B, N, T, S] as Keras has it: batch axes, heads, axes of queries, axes of keys."""
        (batch, rows), (_, keys) = self._sizes(query), self._sizes(key)
        return ops.reshape(scores, (*batch, scores.shape[1], *rows, *keys))

    def joined_mask(self, mask, query, key):
        """A mask that broadcasts to Keras's scores, as [B, N or 1, T, S]."""
        (batch, rows), (_, keys) = self._sizes(query), self._sizes(key)
        rank = len(batch) + 1 + len(rows) + len(keys)
        mask = ops.cast(mask, "bool")
        while len(mask.shape) < rank:  # as Keras does it
            mask = ops.expand_dims(mask, axis=-2 * len(rows) - 1)
        heads = mask.shape[len(batch)]
        mask = ops.broadcast_to(mask, (*batch, heads, *rows, *keys))
        return ops.reshape(mask, (math.prod(batch), heads, math.prod(rows), math.prod(keys)))
