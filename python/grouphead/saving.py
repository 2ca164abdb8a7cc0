"""Layer classes of your own in Keras's files, described as graphs of layers."""

import os

from . import _described
from ._core import models as _core

__all__ = ["register_class", "register_classes"]


def register_class(name, definition):
    """Makes the class `package>Class` known to load_model(): `definition` has `model`, a functional
    model's configuration with "$option" for the layer's options, and `attributes` and `inputs`.
    docs/keras-models.md describes it. Raises ConfigError for what is no definition."""
    _core.register_class(name, _described.plain(definition))


def register_classes(file):
    """The same for a JSON file of definitions by name."""
    _core.register_classes(os.fspath(file))
