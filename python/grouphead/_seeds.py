"""Seeds of what is drawn where the user gives no seed."""

import os
import threading

_lock = threading.Lock()
_seed = None
_draws = 0


def set_seed(seed):
    """From here on everything drawn is a function of `seed`."""
    global _seed, _draws
    with _lock:
        _seed, _draws = int(seed), 0


def next_seed():
    """A seed that no other call gets."""
    global _seed, _draws
    with _lock:
        if _seed is None:
            _seed = int.from_bytes(os.urandom(7), "little")
        _draws += 1
        # Weyl's sequence: distinct for each draw.
        return (_seed + _draws * 0x9E3779B97F4A7C15) % 2**63
