"""Classes made from `signatures.json`, the table of Keras's arguments and defaults.

The library checks arguments and knows what they mean; a class here has a signature, and turns what
it is given into the configuration that the library reads.
"""

import functools
import inspect
import json
from pathlib import Path

_LAYER_KEYWORDS = ("activity_regularizer", "trainable", "dtype", "name")


@functools.cache
def table():
    """Keras's arguments: {kind: {class: [[argument], [argument, default], ...]}}."""
    text = Path(__file__).with_name("signatures.json").read_text(encoding="utf-8")
    return json.loads(text)


def signature(kind, name):
    """The `inspect.Signature` of a class's constructor."""
    parameters = [
        inspect.Parameter(
            argument[0],
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=argument[1] if len(argument) > 1 else inspect.Parameter.empty,
        )
        for argument in table()[kind][name]
    ]
    known = {parameter.name for parameter in parameters}
    if kind == "layers":
        parameters += [
            inspect.Parameter(keyword, inspect.Parameter.KEYWORD_ONLY, default=None)
            for keyword in _LAYER_KEYWORDS
            if keyword not in known
        ]
    return inspect.Signature(parameters)


def plain(value):
    """What a configuration holds of an argument: numbers, texts, lists, dicts, envelopes."""
    if hasattr(value, "_envelope"):
        return value._envelope()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # arrays and their numbers
        return value.tolist()
    if callable(value):
        raise TypeError(
            f"expected a name, a configuration or an object of grouphead, got {value!r}; the"
            " library has no gradients of Python's functions"
        )
    return value


def config_of(cls, args, kwargs):
    """The configuration of a call `cls(*args, **kwargs)`: what was given, and no defaults."""
    try:
        bound = cls.__signature__.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{cls.__name__}: {error}") from None
    config = {key: plain(value) for key, value in bound.arguments.items()}
    # Keras's "the default" for what every layer has.
    return {key: value for key, value in config.items() if value is not None or key in _NULLABLE}


# Arguments whose None is not their default.
_NULLABLE = frozenset({"weight_decay", "adam_weight_decay", "rms_rate", "reduction"})


def add_classes(kind, base, namespace, aliases=None):
    """Adds a subclass of `base` to a module's namespace for each class of a kind."""
    names = []
    for name in table()[kind]:
        if name not in namespace:
            namespace[name] = type(
                name,
                (base,),
                {
                    "__module__": namespace["__name__"],
                    "__doc__": f"`keras.{kind}.{name}`{signature(kind, name)}.",
                },
            )
        namespace[name].__signature__ = signature(kind, name)
        names.append(name)
    for alias, name in (aliases or {}).items():
        namespace[alias] = namespace[name]
        names.append(alias)
    return names


class Rule:
    """What is given by its class and a configuration, and has no state."""

    _complete = None  # of the library: an envelope with all defaults

    def __init__(self, *args, **kwargs):
        self._hold(config_of(type(self), args, kwargs))

    def _hold(self, config):
        envelope = {"class_name": type(self).__name__, "config": config}
        self._config = type(self)._complete(envelope)["config"]

    def _envelope(self):
        return {"class_name": type(self).__name__, "config": self._config}

    def get_config(self):
        return dict(self._config)

    @classmethod
    def from_config(cls, config):
        rule = cls.__new__(cls)
        rule._hold(plain(config))
        return rule

    def __reduce__(self):
        return type(self).from_config, (self._config,)

    def __eq__(self, other):
        return type(self) is type(other) and self._config == other._config

    def __hash__(self):
        return hash((type(self), repr(self._config)))

    def __repr__(self):
        inside = ", ".join(f"{key}={value!r}" for key, value in self._config.items())
        return f"{type(self).__name__}({inside})"


def from_envelope(namespace, identifier):
    """An object of a module's classes from an envelope; None and objects come back."""
    if identifier is None or hasattr(identifier, "_envelope"):
        return identifier
    name = identifier.get("class_name") if isinstance(identifier, dict) else None
    if name not in namespace:
        raise ValueError(f"expected a class of {namespace['__name__']}, got {identifier!r}")
    return namespace[name].from_config(identifier.get("config") or {})
