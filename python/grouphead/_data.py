"""What fit(), evaluate() and predict() are given, as the library takes it."""

import random

from . import _arrays


def ordered(values, names, what):
    """A list of arrays from one, a list, or a dict by these names."""
    if isinstance(values, dict):
        unknown = [key for key in values if key not in names]
        if unknown:
            raise ValueError(f"{what}: expected {names}, got {unknown}")
        return [_arrays.array(values.get(name)) for name in names]
    return _arrays.listed(values)


class Names:
    """How a model's inputs and outputs are called in dicts."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs

    def batch(self, given):
        """(x, y, sample_weight), each a list, from what a data set gives of a batch."""
        if not isinstance(given, (tuple, list)) or len(given) not in (1, 2, 3):
            given = (given,)
        return self.arrays(*given)

    def arrays(self, x, y=None, sample_weight=None):
        return (
            ordered(x, self.inputs, "x"),
            ordered(y, self.outputs, "y"),
            ordered(sample_weight, self.outputs, "sample_weight"),
        )


def is_data_set(x):
    """Whether `x` gives batches: an iterator, a generator, a loader, or by number and length."""
    if isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__") or hasattr(x, "__dlpack__"):
        return False
    return hasattr(x, "__next__") or hasattr(x, "__iter__") or hasattr(x, "__getitem__")


class Batches:
    """The function of epoch and step that gives the batches of a data set; None ends an epoch."""

    def __init__(self, data, names, shuffle_seed=None):
        self._data = data
        self._names = names
        self._shuffle_seed = shuffle_seed
        self._iterator = None
        self._order = None

    def __call__(self, epoch, step):
        if hasattr(self._data, "__next__"):  # goes on through all epochs
            batch = next(self._data, None)
        elif hasattr(self._data, "__getitem__") and hasattr(self._data, "__len__"):
            batch = self._by_number(epoch, step)
        else:
            if step == 0 or self._iterator is None:
                self._iterator = iter(self._data)
            batch = next(self._iterator, None)
        return None if batch is None else self._names.batch(batch)

    def _by_number(self, epoch, step):
        if step == 0 or self._order is None:
            if self._order is not None and hasattr(self._data, "on_epoch_end"):
                self._data.on_epoch_end()
            self._order = list(range(len(self._data)))
            if self._shuffle_seed is not None:
                random.Random(self._shuffle_seed + epoch).shuffle(self._order)
        return self._data[self._order[step]] if step < len(self._order) else None
