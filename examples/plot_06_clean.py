"""
Clean recordings
================

Blinks, bad electrodes and movements are found by FASTER: whatever lies more than three standard deviations from its
like is taken out. Here two simulated people are cleaned, whose artifacts are known, so that what was found can be
compared with what was there; then the same is done inside a pipeline, where it is learned from training trials only.

Run it as ``python plot_06_clean.py [FOLDER]``: the figures are saved in that folder, or where it is run.
"""

# %%
# One recording
# -------------
# The recording is filtered, cut into trials and cleaned stage by stage. There is no channel for the eyes, so the two
# electrodes above them stand in for it.

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from neurosig import benchmark, load_pipelines, read_manifest, simulate_eeg
from neurosig.loaders import simulate_recordings
from neurosig.preprocessing.cleaning import CleaningOptions, clean_raw
from neurosig.preprocessing.cleaning_runs import find_cohort_outliers, preprocess, sources_of_dataset
from neurosig.reports.cleaning import write_cohort_report, write_recording_report
from neurosig.reports.cleaning_figures import plot_traces, plot_z

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()


def save(figure, name):
    """Save a figure and say so."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight", facecolor="white")
    print("saved", name)


options = CleaningOptions(tmin=-0.5, tmax=3.5, eog_proxy=("Fp1", "Fp2"))
recording = next(simulate_recordings("imagery", 1, 1, 1, 30, random_state=3))
cleaned = clean_raw(recording.raw, options)
true = recording.truth["bad_channels"]
names = sorted({*true, *cleaned.interpolated})
verdict = [{"channel": n, "truth": true.get(n, "good"), "found": n in cleaned.interpolated} for n in names]
print(pd.DataFrame(verdict).to_string(index=False))
print("trials kept:", len(cleaned.kept), "of", len(cleaned.before))
print("components removed:", cleaned.found["components"].by_metric)

# %%
# Each channel's z-scores: what is beyond the dashed lines is bad, whichever metric says so.

save(plot_z(cleaned.found["channels"].to_dict(), "channel"), "channel_z.png")

# %%
# What was removed, in the channels that changed most.

names = [*cleaned.interpolated, "Fp1", "Fz", "Oz"]
picks = [cleaned.ch_names.index(name) for name in dict.fromkeys(names)]
shown = np.ix_(range(3), picks)
before, after = cleaned.before[cleaned.kept] * 1e6, cleaned.epochs.get_data() * 1e6
times = cleaned.epochs.times
traces = plot_traces(before[shown], after[shown], list(dict.fromkeys(names)), cleaned.kept[:3], times, "µV")
save(traces, "traces.png")

# %%
# Many recordings
# ---------------
# What ``neurosig preprocess --dataset simulated-imagery --subjects 1,2 --out cleaned/`` does: a FIF file of cleaned
# trials and a page for each recording, and a page for all. What is finished is skipped when the call is repeated.

out = Path(tempfile.mkdtemp())
sources = sources_of_dataset(read_manifest("simulated-imagery"), ["1", "2"])
outcomes = preprocess(sources, options, out, report=write_recording_report)
outliers, note = find_cohort_outliers(outcomes, options)
files = write_cohort_report(outcomes, options, out, outliers=outliers, note=note)
print(files["table"].read_text())
print([outcome.state for outcome in preprocess(sources, options, out, report=write_recording_report)])

# %%
# Inside a pipeline
# -----------------
# Thresholds, components and bad channels are learned from training trials, so that no test trial takes part; and no
# trial is dropped, so that the scores are of the same trials. Whether it helps is a question to the data.
#
# The last numbers: the mean ROC AUC over n = 3 people, and its 95 % confidence interval, which is about the mean of all
# such people. With three it is so wide that it tells neither from chance (0.5) nor one pipeline from the other.

data = simulate_eeg("imagery", n_subjects=3, n_sessions=1, n_runs=2, n_trials=20, random_state=1)
results = benchmark(load_pipelines(names=["TS+LR", "FASTER+TS+LR"]), data, evaluation="within_session", folds="run")
print(results.summary()[["pipeline", "mean", "ci_low", "ci_high", "n"]].to_string(index=False))
