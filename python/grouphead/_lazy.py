"""What is imported when it is first asked for: everything around models."""

import importlib

_HOMES = {
    "_conversion": ("compare_heads", "convert_heads"),
    "_generation": ("beam_search", "generate"),
    "_info": ("info",),
    "_model": ("Model", "Sequential", "load_model", "model_from_json", "save_model"),
    "_pretrained": ("PretrainedModel", "load_pretrained", "save_pretrained"),
    "_texts": ("texts_of",),
    "_tokenizer": ("Tokenizer",),
    "layers": ("Input", "KerasTensor", "Layer"),
    "saving": ("register_class", "register_classes"),
}
_MODULES = (
    "callbacks",
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "regularizers",
    "saving",
    "utils",
)
_home_of = {name: home for home, names in _HOMES.items() for name in names}
names = sorted([*_home_of, *_MODULES])


def get(package, name):
    """The attribute of the package; AttributeError for one that it does not have."""
    if name in _MODULES:
        return importlib.import_module(f"{package}.{name}")
    if name in _home_of:
        return getattr(importlib.import_module(f"{package}.{_home_of[name]}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
