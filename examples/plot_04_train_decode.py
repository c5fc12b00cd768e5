"""
Train a decoder and use it on a new recording
=============================================

A pipeline is trained on what is known, its score is estimated on what it has not seen, and then it is stored together
with the signals that it expects. A new recording, with other channel names in another order, is decoded by it or
refused with the reason. The same is on the command line as ``neurosig train`` and ``neurosig decode``.
"""

import tempfile
from pathlib import Path

from neurosig import TrainedPipeline, open_dataset, train
from neurosig.core.errors import ChannelError
from neurosig.loaders import simulate_recordings

# %%
# Three runs of one person who imagines movements of the left and the right hand. Two are for training.

folder = Path(tempfile.mkdtemp())
runs = [item.raw for item in simulate_recordings("imagery", n_subjects=1, n_sessions=1, n_runs=3)]
(folder / "known").mkdir()
for number, raw in enumerate(runs[:2]):
    raw.save(folder / "known" / f"subject1_session0_run{number}_raw.fif")

# %%
# The score is estimated run by run before the final fit on all trials, and stands in the model card with its spread,
# the number of trials and chance.

dataset = open_dataset(folder / "known", fmin=8, fmax=32, tmin=0.5, tmax=3.5)
model = train(dataset, "TS+LR")
model.save(folder / "model")
print((folder / "model" / "README.md").read_text())

# %%
# The third run comes from another amplifier: old electrode names, another order. Names are matched, nothing is guessed.

new = runs[2].copy().rename_channels({"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"})
new.reorder_channels(sorted(new.ch_names)).save(folder / "new_raw.fif")

model = TrainedPipeline.load(folder / "model")
decoded = model.decode(folder / "new_raw.fif", events=["left_hand", "right_hand"])
print(decoded.table.head().to_string())
print(f"as the events say: {decoded.accuracy:.0%}")
print(decoded.report["recordings"][0]["mapping"])

# %%
# Without events, windows slide over the recording.

sliding = model.decode(folder / "new_raw.fif", windows=(3.0, 0.5))
print(f"{len(sliding)} windows, {sliding.table['predicted'].value_counts().to_dict()}")

# %%
# A recording that lacks a channel is refused by name; ``on_missing="interpolate"`` estimates it from its neighbours.

new.drop_channels(["C3"]).save(folder / "gap_raw.fif")
try:
    model.decode(folder / "gap_raw.fif")
except ChannelError as error:
    print(error)
print(model.decode(folder / "gap_raw.fif", on_missing="interpolate").report["warnings"])
