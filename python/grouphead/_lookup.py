"""Layers with a vocabulary."""

from . import _arrays
from ._core import models as _core
from ._layer import Layer


def adapted_array(data):
    """What adapt() is given, as an array."""
    if data is None:
        raise TypeError("adapt: expected an array, got None")
    return _arrays.array(data)


class LookupLayer(Layer):
    """A layer with a vocabulary."""

    def adapt(self, data) -> None:
        """Makes a vocabulary of the tokens in an array or list, the most frequent first."""
        _core.adapt(self._layer, adapted_array(data))

    def set_vocabulary(self, vocabulary, idf_weights=None) -> None:
        """Sets the tokens, with mask and unknown ones in front or without."""
        weights = [] if idf_weights is None else [float(weight) for weight in idf_weights]
        _core.set_vocabulary(self._layer, list(vocabulary), weights)

    def get_vocabulary(self, include_special_tokens=True) -> list:
        """The tokens in the order of their places."""
        tokens = _core.vocabulary(self._layer)
        return tokens if include_special_tokens else tokens[self._num_special() :]

    def vocabulary_size(self) -> int:
        """The number of places, those of mask and unknown tokens included."""
        return len(self.get_vocabulary())

    def _num_special(self):
        config = self.get_config()
        is_integers = config["output_mode"] == "int"
        if "num_oov_indices" not in config:  # TextVectorization: padding and "[UNK]"
            return 1 + is_integers
        return config["num_oov_indices"] + (is_integers and config["mask_token"] is not None)
