"""`keras.utils`."""

from ._seeds import set_seed

__all__ = ["set_random_seed"]


def set_random_seed(seed):
    """From here on first weights, shuffling and sampling are a function of `seed`."""
    set_seed(seed)
