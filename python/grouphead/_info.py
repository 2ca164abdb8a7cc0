"""What this installation can do."""

from . import _core


def info():
    """Version, threads, instruction-set levels, layer classes: what `grouphead info` prints."""
    return {
        "version": _core.__version__,
        "threads": _core.num_threads(),
        "isa": _core.models.isa(),
        "available_isas": _core.models.available_isas(),
        "layers": _core.models.layer_class_names(),
    }
