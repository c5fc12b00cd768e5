"""Does FASTER find what is bad, and does it help? ``python -m benchmarks.study_faster [--out FOLDER] [--part NAME]``.

``detection``: on simulated recordings whose artifacts are known, how many of them each stage finds (sensitivity), and
how much of the rest it leaves alone (specificity), for the three variants. ``decoding``: on real recordings (those that
the environment variable NEUROSIG_DATA offers), pipelines with and without FASTER, learned on training trials only.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from neurosig.core.files import atomic_write

VARIANTS = ("mended", "paper", "mne")
ROUNDS = {"mended": (1, None), "paper": (1, 3), "mne": (1, 3)}  # None: the variant's own
WINDOW = (-0.5, 3.5)
# What each step does to decoding, beside the steps of the shipped pipelines
STEPS = {
    "channels alone": ["channels"],
    "components alone": ["components"],
    "channels in epochs alone": ["channels_in_epochs"],
    "all steps": ["channels", "epochs", "components", "channels_in_epochs"],
}
# A component counts as an artifact's where its map looks like that of an artifact's source
ALIKE = 0.85
ARTIFACT_SOURCES = (
    "eyes_vertical",
    "eye_left",
    "eye_right",
    "muscle_left",
    "muscle_right",
    "muscle_front",
    "muscle_neck",
)


def detection(n_subjects: int = 24, n_trials: int = 40) -> pd.DataFrame:
    """Sensitivity and specificity of each stage over simulated recordings with known artifacts."""
    from neurosig.loaders.epochs import cut_epochs
    from neurosig.loaders.simulated import simulate_recordings
    from neurosig.preprocessing.cleaning import CleaningOptions, clean_epochs

    counts: Counter = Counter()
    # metrics and rounds were chosen on the recordings of seeds 7 and 101
    recordings = simulate_recordings("imagery", n_subjects, 2, 1, n_trials, random_state=2027)
    for recording in recordings:
        options = CleaningOptions(tmin=WINDOW[0], tmax=WINDOW[1])
        raw = recording.raw.filter(options.fmin, options.fmax, method="iir", verbose="error")
        epochs = cut_epochs(raw, None, options.processing)
        truth = _Truth(recording.truth, epochs)
        for variant in VARIANTS:
            for max_iter in ROUNDS[variant]:
                how = CleaningOptions(
                    tmin=WINDOW[0], tmax=WINDOW[1], variant=variant, max_iter=max_iter, eog_proxy=("Fp1", "Fp2")
                )
                cleaned = clean_epochs(epochs, how)
                alone = clean_epochs(
                    epochs, dataclasses.replace(how, steps=("channels", "epochs", "channels_in_epochs"))
                )
                compared = truth.compare(cleaned) | truth.compare_cells(alone, cleaned)
                for stage, (bad, found) in compared.items():
                    key = (stage, variant, max_iter)
                    counts[(*key, "hit")] += int((bad & found).sum())
                    counts[(*key, "bad")] += int(bad.sum())
                    counts[(*key, "kept")] += int((~bad & ~found).sum())
                    counts[(*key, "good")] += int((~bad).sum())
    rows = []
    for stage, variant, rounds in dict.fromkeys(key[:3] for key in counts):
        hit, bad, kept, good = (counts[(stage, variant, rounds, what)] for what in ("hit", "bad", "kept", "good"))
        rows.append({
            "stage": stage, "variant": variant, "rounds": str(rounds or "own"),
            "sensitivity": hit / max(bad, 1), "found": f"{hit} of {bad}",
            "specificity": kept / good if good else np.nan, "left alone": f"{kept} of {good}",
        })  # fmt: skip
    places = {name: i for i, name in enumerate((*_Truth.STAGES, *VARIANTS))}
    return pd.DataFrame(rows).sort_values(
        ["stage", "variant", "rounds"], key=lambda column: column if column.name == "rounds" else column.map(places)
    )


class _Truth:
    """What the simulation put in, in the terms of each stage."""

    STAGES = (
        "channels", "channels: flat", "channels: noisy", "channels: drift", "epochs: movement", "components: eyes",
        "components: muscles", "channels in epochs: pops",
        "pops: less than half is left after all stages",
    )  # fmt: skip

    def __init__(self, truth, epochs):
        self.channels = truth["bad_channels"]
        self.sources = truth["sources"]
        onsets = epochs.metadata["onset"].to_numpy()
        self.movement = np.zeros(len(epochs), dtype=bool)
        self.pops = np.zeros((len(epochs), len(epochs.ch_names)), dtype=bool)
        for artifact in truth["artifacts"]:
            start = artifact["onset"]
            if artifact["kind"] == "movement":  # felt where a fifth of a second of it falls into the trial
                stop = start + artifact["duration"]
                self.movement |= (start < onsets + WINDOW[1] - 0.2) & (stop > onsets + WINDOW[0] + 0.2)
            elif artifact["kind"] == "pop":  # its jump lies in the trial; the tail is over after 0.3 s
                within = (start > onsets + WINDOW[0]) & (start < onsets + WINDOW[1] - 0.1)
                self.pops[within, epochs.ch_names.index(artifact["channels"][0])] = True

    def compare(self, cleaned):
        """Truth and finding, as two boolean arrays a stage."""
        names = cleaned.ch_names
        found = np.isin(names, cleaned.found["channels"].bads)
        stages = {"channels": (np.isin(names, list(self.channels)), found)}
        for kind in ("flat", "noisy", "drift"):
            bad = np.array([self.channels.get(name) == kind for name in names])
            considered = bad | ~np.isin(names, list(self.channels))
            stages[f"channels: {kind}"] = (bad[considered], found[considered])
        stages["epochs: movement"] = (self.movement, cleaned.found["epochs"].bad)
        stages |= self._components(cleaned)
        return stages

    def compare_cells(self, alone, cleaned):
        """Pops: found by stage 4 where no components were removed before, and gone after all stages."""
        names = alone.ch_names
        good = ~np.isin(names, [*self.channels, *alone.interpolated])
        # trials with a movement are stage 2's business, and bad channels stage 1's
        rows = ~self.movement[alone.kept]
        bad = self.pops[alone.kept][np.ix_(rows, good)]
        stages = {"channels in epochs: pops": (bad, alone.found["channels_in_epochs"].bad[np.ix_(rows, good)])}
        picks = [cleaned.epochs.ch_names.index(name) for name in names]
        before = np.ptp(cleaned.before[cleaned.kept], axis=-1)
        after = np.ptp(cleaned.epochs.get_data(picks=picks, copy=False), axis=-1)
        pops = self.pops[cleaned.kept] & ~np.isin(names, list(self.channels))
        stages["pops: less than half is left after all stages"] = (
            np.ones(int(pops.sum()), dtype=bool), (after < 0.5 * before)[pops]
        )  # fmt: skip
        return stages

    def _components(self, cleaned):
        decomposition, outliers = cleaned.decomposition, cleaned.found["components"]
        picks = [cleaned.ch_names.index(name) for name in decomposition.ch_names]
        maps = decomposition.mixing.T
        alike = {}
        for name in ARTIFACT_SOURCES:
            target = np.asarray(self.sources[name]["topography"])[picks]
            alike[name] = np.array([abs(np.corrcoef(row, target - target.mean())[0, 1]) for row in maps]) > ALIKE
        left, right = (np.asarray(self.sources[name]["topography"])[picks] for name in ("eye_left", "eye_right"))
        gaze = np.array([abs(np.corrcoef(row, left - right)[0, 1]) for row in maps]) > ALIKE
        eyes = alike["eyes_vertical"] | alike["eye_left"] | alike["eye_right"] | gaze
        muscles = np.logical_or.reduce([alike[name] for name in ARTIFACT_SOURCES if name.startswith("muscle")]) & ~eyes
        return {
            f"components: {name}": (bad[bad | ~(eyes | muscles)], outliers.bad[bad | ~(eyes | muscles)])
            for name, bad in (("eyes", eyes), ("muscles", muscles))
        }


def subjects(n_cohorts: int = 20) -> pd.DataFrame:
    """Stage 5: cohorts of 20 simulated averages, two of which were spoilt (threefold amplitude, or a slow drift)."""
    from neurosig.loaders.simulated import simulate_eeg
    from neurosig.preprocessing.faster import find_outlier_subjects

    data = simulate_eeg("p300", 20, 1, 1, artifacts=False, random_state=11)
    averages = np.stack([
        data.X[((data.metadata["subject"] == subject) & (data.y == "NonTarget")).to_numpy()].mean(axis=0)
        for subject in data.metadata["subject"].unique()
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    rows = []
    for kind in ("threefold amplitude", "drift"):
        hits = kept = 0
        for _ in range(n_cohorts):
            cohort, spoilt = averages.copy(), rng.choice(len(averages), 2, replace=False)
            if kind == "drift":
                cohort[spoilt] += 3 * averages.std() * np.linspace(-1, 2, averages.shape[-1])
            else:
                cohort[spoilt] *= 3
            bad = find_outlier_subjects(cohort).bad
            hits += int(bad[spoilt].sum())
            kept += int((~np.delete(bad, spoilt)).sum())
        rows.append({
            "stage": f"subjects: {kind}", "variant": "all", "rounds": "1", "sensitivity": hits / (2 * n_cohorts),
            "found": f"{hits} of {2 * n_cohorts}", "specificity": kept / (18 * n_cohorts),
            "left alone": f"{kept} of {18 * n_cohorts}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def decoding(out: Path) -> pd.DataFrame:
    """Scores with and without FASTER, compared across subjects."""
    from sklearn.base import clone

    from neurosig import benchmark, load_pipelines

    rows = []
    for dataset, names, bands in (
        ("eegmmidb-trials", ("TS+LR", "CSP+LDA"), ({}, {"fmin": 1.0, "fmax": 40.0})),
        ("muse-p300", ("XdawnCov+TS+LR",), ({},)),
    ):
        for band in bands:
            pipelines = load_pipelines(names=[*names, *(f"FASTER+{name}" for name in names)])
            for name in names:
                located = _located(pipelines[f"FASTER+{name}"], dataset)
                pipelines[f"FASTER, located+{name}"] = located
                for told, steps in STEPS.items():
                    pipelines[f"FASTER, located, {told}+{name}"] = clone(located).set_params(faster__steps=steps)
            told = "-".join(f"{value:g}" for value in band.values()) or "own"
            results = benchmark(
                pipelines, [dataset], "within_session", folds="run", out=out / f"{dataset}-{told}", **band
            )
            table = results.summary().assign(band=told)
            pairs = results.compare()
            for row in table.to_dict("records"):
                base = next(name for name in names if row["pipeline"].endswith(name))
                gain = pairs[
                    ((pairs["pipeline_a"] == row["pipeline"]) & (pairs["pipeline_b"] == base))
                    | ((pairs["pipeline_b"] == row["pipeline"]) & (pairs["pipeline_a"] == base))
                ]  # fmt: skip
                found = gain.iloc[0].to_dict() if len(gain) else {}
                sign = 1 if found.get("pipeline_a") == row["pipeline"] else -1
                rows.append({
                    "dataset": dataset, "band": told, "pipeline": row["pipeline"], "mean": row["mean"],
                    "ci_low": row["ci_low"], "ci_high": row["ci_high"], "n": row["n"],
                    "gain": sign * found["difference"] if found else np.nan,
                    "p": found.get("p", np.nan), "p_corrected": found.get("p_corrected", np.nan),
                })  # fmt: skip
    return pd.DataFrame(rows)


def _located(pipeline, dataset):
    """The same pipeline told its channels: splines instead of the mean, the eyes' neighbours in place of an EOG."""
    from sklearn.base import clone

    from neurosig.loaders.manifest import open_dataset

    manifest = open_dataset(dataset)
    info = manifest.load(subjects=manifest.subject_list[:1]).info
    proxy = [name for name in ("Fp1", "Fp2", "AF7", "AF8") if name in info.ch_names][:2]
    return clone(pipeline).set_params(
        faster__ch_names=list(info.ch_names),
        faster__sfreq=info.sfreq,
        faster__eog_proxy=proxy,
        faster__interpolation="auto",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_faster", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/study_faster"))
    parser.add_argument("--part", choices=("detection", "decoding"), help="only this")
    options = parser.parse_args()
    parts = []
    if options.part != "decoding":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # thresholds that cannot be passed show in the table
            parts.append(("detection", pd.concat([detection(), subjects()])))
    if options.part != "detection":
        if os.environ.get("NEUROSIG_DATA"):
            parts.append(("decoding", decoding(options.out)))
        else:
            print("decoding left out: NEUROSIG_DATA is not set")
    for name, table in parts:
        text = table.to_string(index=False, float_format=lambda value: f"{value:.3f}")
        atomic_write(options.out / f"{name}.csv", table.to_csv(index=False))
        print(f"{name}\n{text}\n")


if __name__ == "__main__":
    main()
