"""
Inspect a recording
===================

Before anything is decoded, look: which channels are there, at what rate, which events, and what is odd about them.
The same is on the command line as ``neurosig inspect FILE``.
"""

import tempfile
from pathlib import Path

import numpy as np

from neurosig.loaders import inspect_recording, simulate_recordings

# %%
# A recording to look at: one run of a simulated person, in which one electrode has lost contact.

folder = Path(tempfile.mkdtemp())
recording = next(simulate_recordings("imagery", n_subjects=1, n_sessions=1, n_runs=1))
recording.raw.apply_function(lambda x: np.zeros_like(x), picks=["C4"])
recording.raw.save(folder / "run_raw.fif")

# %%
# What is in it. The answer is plain data: print it, store it as JSON, or act on it.

found = inspect_recording(folder / "run_raw.fif")
for name, value in found.items():
    print(f"{name}: {str(value)[:100]}")
