"""Memory of intermediate results, kept by the process instead of being asked of the system time and again."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["keep_freed_memory"]


@cache
def keep_freed_memory() -> None:
    """Teach the C library, once a process, to keep memory of intermediate results when it is freed.

    glibc gives large blocks back to the system, which then has to clear them anew for each intermediate result, until
    one of their size was freed once: that makes up to a fifth of the time of an inference on a CPU. Nothing is written,
    so nothing is taken.
    """
    torch.empty(24 << 20, dtype=torch.uint8)
