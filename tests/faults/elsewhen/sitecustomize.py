"""The wall clock of every Python process with this folder on its path, wrong by as many seconds as a file says.

What the kernel and Ray's own binaries take for the time stays: libfaketime, which would change theirs as well,
cannot be used with Ray (`time.sleep` fails under it where the monotonic clock is left alone, as it must be).
"""

from __future__ import annotations

import os
import time

_real, _real_ns = time.time, time.time_ns
_file = os.environ.get("EMMA_TUNE_TEST_CLOCK", "")


def _wrong_by() -> float:
    try:
        with open(_file) as file:
            return float(file.read())
    except (OSError, ValueError):
        return 0.0


if _file:
    time.time = lambda: _real() + _wrong_by()
    time.time_ns = lambda: _real_ns() + int(_wrong_by() * 1e9)
