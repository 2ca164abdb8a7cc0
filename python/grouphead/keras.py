"""Keras's attention layers on these kernels, under its PyTorch and JAX backends.

`GroupQueryAttention` and `MultiHeadAttention` are Keras's own layers: their arguments, weights,
files and configurations. `enable()` makes Keras's own compute here as well, those of models that
exist already too.

What the kernels do not take runs as in Keras: devices other than the CPU, and subclasses that
override Keras's own steps.
"""

import importlib

import keras
from keras.src import api_export
from keras.src.random.seed_generator import draw_seed

from . import _core
from ._keras_axes import Axes

__all__ = ["GroupQueryAttention", "MultiHeadAttention", "disable", "enable"]

if keras.backend.backend() not in ("torch", "jax"):
    raise _core.ConfigError(
        f"[keras] backend: expected torch or jax, got {keras.backend.backend()}; set KERAS_BACKEND"
    )
_backend = importlib.import_module(f"{__package__}._keras_{keras.backend.backend()}")
_KERAS = (keras.layers.GroupQueryAttention, keras.layers.MultiHeadAttention)
_METHODS = ("_compute_attention", "_compute_attention_mask")
_originals = {(cls, name): getattr(cls, name) for cls in _KERAS for name in _METHODS}
_FLOATING = ("float32", "float64", "bfloat16")


def _original(layer, name):
    """Keras's own method of a layer."""
    cls = next(cls for cls in _KERAS if isinstance(layer, cls))
    return _originals[cls, name].__get__(layer)


class _Visibility:
    """Which keys a query sees: what Keras's call() hands from one method to the other."""

    def __init__(self, layer, query, value, masks):
        self._layer, self._query, self._value, self._masks = layer, query, value, masks

    def as_mask(self):
        """The mask that Keras makes of it, [B, T, S]."""
        original = _original(self._layer, "_compute_attention_mask")
        return original(self._query, self._value, **self._masks)

    def arrays(self):
        """The masks that are arrays, by the kernels' names."""
        given = self._masks
        arrays = {"query_mask": given.get("query_mask")}
        real = [given.get(name) for name in ("value_mask", "key_mask")]
        real = [keras.ops.cast(mask, "bool") for mask in real if mask is not None]
        if real:
            arrays["key_mask"] = real[0] if len(real) == 1 else real[0] & real[1]
        mask = given.get("attention_mask")
        if mask is not None:
            while len(mask.shape) < 4:
                mask = keras.ops.expand_dims(mask, axis=-3)
            arrays["mask"] = mask
        return {
            name: keras.ops.cast(mask, "bool") for name, mask in arrays.items() if mask is not None
        }

    @property
    def is_causal(self):
        return bool(self._masks.get("use_causal_mask"))

    def causal_if(self, causal):
        """This, or the same seen causally."""
        masks = {**self._masks, "use_causal_mask": causal or self.is_causal}
        return _Visibility(self._layer, self._query, self._value, masks)


def _compute_attention_mask(self, query, value, **masks):
    """Takes the place of Keras's: the masks as they are."""
    return _Visibility(self, query, value, masks)


def _attribute(layer, name):
    """GroupQueryAttention's attribute, which MultiHeadAttention has with a `_` in front."""
    return getattr(layer, name) if hasattr(layer, name) else getattr(layer, f"_{name}")


def _axes(layer, query):
    """How its attention axes are joined; None for the one that the kernels know."""
    axes = getattr(layer, "_attention_axes", (1,))
    rank = len(query.shape)
    return None if rank == 4 and axes == (1,) else Axes(axes, rank)


def _compute_attention(
    self,
    query,
    key,
    value,
    attention_mask=None,
    training=None,
    return_attention_scores=None,
    use_causal_mask=False,
):
    """Takes the place of Keras's: the same from projected queries, keys and values."""
    if return_attention_scores is None:
        return_attention_scores = getattr(self, "_return_attention_scores", False)
    if not _backend.is_here(query):
        return _by_keras(
            self, query, key, value, attention_mask, training, return_attention_scores,
            use_causal_mask
        )
    if self._flash_attention and return_attention_scores:
        raise ValueError(
            "Returning attention scores is not supported when flash attention is enabled."
        )
    visible = _visibility(self, query, value, attention_mask, use_causal_mask)
    axes = _axes(self, query)
    arrays, settings = _options(self, visible, axes, query, key, return_attention_scores)
    if _attribute(self, "dropout") and training:
        settings["dropout_rate"] = float(_attribute(self, "dropout"))
        arrays["draw"] = draw_seed(self._dropout_layer.seed_generator)
    operands = (query, key, value)
    if axes is not None:
        operands = [axes.joined(x) for x in operands]
    if keras.backend.standardize_dtype(query.dtype) not in _FLOATING:
        operands = [keras.ops.cast(x, "float32") for x in operands]
    attend = _backend.attend_with_scores if return_attention_scores else _backend.attend
    results = attend(*operands, arrays, settings)
    out, scores = results if return_attention_scores else (results, None)
    if axes is not None:
        out = axes.split(out, query)
        scores = None if scores is None else axes.split_scores(scores, query, key)
    return tuple(None if x is None else keras.ops.cast(x, query.dtype) for x in (out, scores))


def _visibility(layer, query, value, mask, causal):
    """The masks of a call; `causal` where Keras has no other."""
    if isinstance(mask, _Visibility):
        return mask.causal_if(causal)
    return _Visibility(layer, query, value, {"attention_mask": mask, "use_causal_mask": causal})


def _options(layer, visible, axes, query, key, with_scores):
    """Arrays and settings of the kernels' call."""
    is_plain = axes is None and not _attribute(layer, "dropout") and not with_scores
    settings = {
        "scale": 1.0 / query.shape[-1] ** 0.5,
        "masked_rows": "uniform" if is_plain else "zeros",  # as Keras computes either
    }
    if axes is not None:
        mask = visible.as_mask()
        return ({} if mask is None else {"mask": axes.joined_mask(mask, query, key)}), settings
    settings["causal"] = visible.is_causal
    window = _attribute(layer, "sliding_window")
    if window is not None:
        settings.update(window_left=window - 1, window_right=window - 1)
    return visible.arrays(), settings


def _by_keras(layer, query, key, value, mask, training, return_scores, causal):
    """Keras's own attention, for what the kernels do not take."""
    if isinstance(mask, _Visibility):
        mask = mask.as_mask()
    settings = {"training": training, "use_causal_mask": causal}
    repeats = query.shape[-2] // key.shape[-2]
    if repeats > 1:
        key, value = (keras.ops.repeat(x, repeats, axis=2) for x in (key, value))
    if isinstance(layer, keras.layers.MultiHeadAttention):
        settings["return_attention_scores"] = return_scores
    return _original(layer, "_compute_attention")(query, key, value, mask, **settings)


# How often Keras repeats each key and value head: not at all, the kernels need none of it.
_num_repeats = property(
    lambda self: 1, lambda self, repeats: self.__dict__.update(num_repeats=repeats)
)
_OURS = {
    "_compute_attention": _compute_attention,
    "_compute_attention_mask": _compute_attention_mask,
}


class MultiHeadAttention(keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention`, computed by grouphead."""

    _compute_attention = _compute_attention
    _compute_attention_mask = _compute_attention_mask


class GroupQueryAttention(keras.layers.GroupQueryAttention):
    """`keras.layers.GroupQueryAttention`, computed by grouphead."""

    num_repeats = _num_repeats
    _compute_attention = _compute_attention
    _compute_attention_mask = _compute_attention_mask


# In files they are Keras's own, which any Keras loads; paths have the name of the class.
for _ours, _theirs in ((GroupQueryAttention, _KERAS[0]), (MultiHeadAttention, _KERAS[1])):
    _ours.__name__ = _theirs.__name__
    api_export.REGISTERED_OBJS_TO_NAMES[_ours] = api_export.get_name_from_symbol(_theirs)


class _Enabled:
    """What enable() returns: leaving its `with` block undoes it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        disable()


def enable():
    """Makes Keras's own two layers compute here: as a switch, or `with grouphead.keras.enable():`.

    Functions that JAX or torch.compile compiled before keep what they were compiled with.
    """
    for cls in _KERAS:
        for name, method in _OURS.items():
            setattr(cls, name, method)
    _KERAS[0].num_repeats = _num_repeats
    return _Enabled()


def disable():
    """Undoes enable()."""
    for (cls, name), method in _originals.items():
        setattr(cls, name, method)
    if "num_repeats" in vars(_KERAS[0]):
        del _KERAS[0].num_repeats
