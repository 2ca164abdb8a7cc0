"""What functions return when it is more than one array."""

from typing import Any, NamedTuple


class AttentionGradients(NamedTuple):
    """The gradients of attention(), each of its operand's shape; None: not there or not wanted."""

    d_q: Any
    d_k: Any
    d_v: Any
    d_bias: Any
    d_sinks: Any
