"""What small tokenizers, learned from the recordings at hand, keep of EEG, and what their tokens are worth.

``python -m benchmarks.study_tokenizers OUT [--seeds N] [--only NAME ...] [--part ...]`` (NEUROSIG_DATA names the folder
of the recordings). A call that was killed is repeated as it was and goes on: what was learned and decided is kept in
OUT, which is refused when the settings here have changed.

People are dealt into two halves. A tokenizer learns, without labels, from the windows of one half (and from recordings
of people who are in no decision), and is judged on the other; then the halves change. No tokenizer, and no encoder that
was pretrained on its tokens, has seen a person whose trials are tested.

``learn``
    TFM-Tokenizer and NeuroRVQ in sizes that one slow core learns in minutes, stated in `TOKENIZERS`: a tenth to a
    thirtieth of the published ones, and a few epochs. Errors of reconstruction by band and use of the codes, on windows
    of the other half. TFM-Tokenizer is learned in two ways: as published (codes and decoder begin at random, unused
    codes are left alone), and with the options that a short training needs (k-means, dead codes restarted, the decoder
    begun at the mean spectrum, a higher rate, no dropout); decisions take the second. Collections without electrode
    names, or of less than a second, are left out.
``decide``
    Imagined left against right fist (`eegmmidb-trials`) and rest against mental arithmetic (`eegmat`), learned on
    one half of the people and tested on the other; flicker at 20 against 30 Hz (`muse-ssvep`: one person, one of
    four runs left out; trials of 3 s, shorter than the windows learned from); and imagined fists again within a
    person, one of three runs left out, by probes and tangent space alone. A linear probe of the pooled embeddings,
    and of the histogram of tokens; fine-tuning; and, under the same folds and on the same channels, tangent space
    with logistic regression, and EEGNet from scratch, on signals filtered as each dataset asks for. All that is
    trained by steps gets the same number of them (`budget`) and no validation part. The embeddings of TFM-Tokenizer
    are those before quantization, the ones of NeuroRVQ sums of codes. NeuroRVQ's foundation model has learned
    masked tokens of the half; TFM's encoder starts from the codebook alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.core.files import atomic_write
from neurosig.core.signals import SignalDataset
from neurosig.evaluation.corrections import holm
from neurosig.loaders.eeg import load_eeg
from neurosig.loaders.manifest import open_dataset
from neurosig.models import NetClassifier, NeuroRVQClassifier, NeuroRVQEmbedder, TFMClassifier
from neurosig.preprocessing.tangent import FastTangentSpace
from neurosig.tokenizers import NeuroRVQTokenizer, TFMTokenizer, TokenFeatures
from neurosig.tokenizers.quality import band_errors
from neurosig.tokenizers.tfm_signal import cut_frames, magnitude_spectrum, quantile_scale

SFREQ, SECONDS = 200.0, 4.0
BROAD = {"fmin": 0.5, "fmax": 45.0, "resample": SFREQ}
MOTOR = [f"{row}{column}" for row in ("FC", "C", "CP") for column in "3z4"]
TEN = ["F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "Fz", "Pz"]
MUSE = ["TP9", "AF7", "AF8", "TP10"]
HALVES = (0, 1)
SHARED: dict[str, Any] = {"batch_size": 8, "device": "cpu", "any_channels": True}
SMALL_TFM: dict[str, Any] = {
    "n_codes": 512, "emb_size": 32, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 2, "n_heads": 4,
    "max_epochs": 6, **SHARED,
}  # fmt: skip
TOKENIZERS: dict[str, Callable[[int], Any]] = {
    "TFM": lambda seed: TFMTokenizer(
        kmeans_init=True, restart_dead_codes=0.1, mean_init=True, lr=3e-3, drop_prob=0.0, random_state=seed,
        **SMALL_TFM,
    ),
    "TFM, begun as published": lambda seed: TFMTokenizer(random_state=seed, **SMALL_TFM),
    "NeuroRVQ": lambda seed: NeuroRVQTokenizer(
        n_codes=256, code_dim=32, depth=2, decoder_depth=1, n_levels=4, n_heads=5, options={"n_filters": 4},
        lr=1e-3, max_epochs=4, resample=True, on_unknown="drop", random_state=seed, **SHARED,
    ),
}  # fmt: skip
DECIDE = ("TFM", "NeuroRVQ")  # the others are learned once and decide nothing


class Task:
    """A decision: whose trials, read how, and what is trained on and tested.

    Parameters
    ----------
    name : str
        The dataset.
    reading : dict
        Of the trials that the tokenizers get.
    across : bool
        Whether people of one half are tested with a decoder of the other; else runs of a person.
    keep : dict
        Of what the classical pipelines get.
    step : int
        Every how many trials are taken.
    title : str, optional
        What tables call it, the dataset's name by default.
    tunes : bool
        Whether anything is trained by steps.
    """

    def __init__(
        self, name: str, reading: dict[str, Any], across: bool, keep: dict[str, Any], *, step: int = 1,
        title: str = "", tunes: bool = True,
    ):  # fmt: skip
        self.name, self.reading, self.across, self.keep, self.step = name, reading, across, keep, step
        self.title, self.tunes = title or name, tunes

    @cache  # noqa: B019 - three tasks live as long as the study
    def read(self, broad: bool) -> SignalDataset:
        """The trials, of a length that the tokenizers take or as their dataset asks for; kept when they were read."""
        return _kept(f"{self.name}-{'broad' if broad else 'own'}", lambda: self._read(broad))

    def _read(self, broad: bool) -> SignalDataset:
        found = open_dataset(self.name).load(progress=False, **(BROAD | self.reading if broad else self.keep))
        if self.step > 1:
            found = found.subset(np.arange(0, len(found), self.step))
        n_times = int(found.X.shape[2] // SFREQ * SFREQ) if broad else int(found.X.shape[2])
        X = np.asarray(found.X[..., :n_times], dtype=np.float32)
        return SignalDataset(X, found.y, found.metadata, found.info.replace(n_times=n_times), name=self.name)

    def half(self, person: str) -> int:
        """Which half a person is in."""
        return _people(self.name).index(person) % 2

    def folds(self, half: int) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Person, name of the fold, trials trained on, trials tested, for the people of a half."""
        metadata = self.read(True).metadata
        trial = ["subject", "session", "run"]
        if not metadata[trial].astype(str).equals(self.read(False).metadata[trial].astype(str)):
            raise RuntimeError(f"{self.name}: both readings must have the same trials")
        people = metadata["subject"].astype(str).to_numpy()
        halves = np.array([self.half(person) for person in people])
        for person in dict.fromkeys(people[halves == half]):
            mine = people == person
            if self.across:
                yield person, "all", np.flatnonzero(halves != half), np.flatnonzero(mine)
                continue
            runs = (metadata["session"].astype(str) + "/" + metadata["run"].astype(str)).to_numpy()
            for run in dict.fromkeys(runs[mine]):
                yield person, run, np.flatnonzero(mine & (runs != run)), np.flatnonzero(mine & (runs == run))


TASKS = (
    Task("eegmmidb-trials", {"tmin": 0.0, "tmax": SECONDS, "picks": MOTOR}, True, {"picks": MOTOR}),
    Task("eegmat", {"tmax": SECONDS, "picks": TEN}, True, {"tmax": SECONDS, "picks": TEN}, step=2),
    Task("muse-ssvep", {"tmax": 3.0, "picks": MUSE}, False, {"picks": MUSE}),
    Task(
        "eegmmidb-trials", {"tmin": 0.0, "tmax": SECONDS, "picks": MOTOR}, False, {"picks": MOTOR},
        title="eegmmidb-within", tunes=False,
    ),
)  # fmt: skip


@cache
def _people(name: str) -> list[str]:
    """People of a dataset in order; asked for a trial at a time, its files would be opened for each."""
    return open_dataset(name).subject_list


_PLACE: list[Path] = []  # where signals that were read are kept


def _kept(name: str, read: Callable[[], SignalDataset]) -> SignalDataset:
    folder = _PLACE[0] / "signals" / name
    if not folder.exists():
        read().to_zarr(folder)
    found = SignalDataset.from_zarr(folder)
    return dataclasses.replace(found, X=np.asarray(found.X[:], dtype=np.float32))


@lru_cache(maxsize=1)
def collections(half: int) -> tuple[SignalDataset, ...]:
    """Windows of four seconds to learn from: of the people of a half, and of recordings that nobody is tested on."""
    root = Path(os.environ["NEUROSIG_DATA"])
    windows: dict[str, Any] = {"window": (SECONDS, SECONDS), "label": "any", "progress": False, **BROAD}
    found = []
    for task in TASKS[:2]:
        trials = task.read(True)
        halves = np.array([task.half(person) for person in trials.metadata["subject"].astype(str)])
        found.append(trials.subset(np.flatnonzero(halves == half)))
    kinds = ("auditory_p300", "auditory_ssaep", "visual_n170", "visual_p300", "visual_ssvep")
    muse = {kind: sorted((root / "muse").glob(f"{kind}_subject{half + 1}_*.csv.gz")) for kind in kinds}
    found += [
        _kept(f"{kind}-{half}", partial(load_eeg, files, picks=MUSE, **windows))
        for kind, files in muse.items()
        if files
    ]
    if half == 0:  # person 1 of `eegmmidb-trials`
        rest = [root / "eegmmidb" / "edf" / f"S001R0{run}.edf" for run in (1, 2)]
        found.append(_kept("rest-0", partial(load_eeg, rest, picks=MOTOR, **windows)))
    return tuple(found)


def learn(out: Path, name: str, half: int, seed: int) -> Any:
    """The tokenizer of a half, read where it was learned before."""
    folder = out / "tokenizers" / f"{name}-half{half}-seed{seed}"
    if not folder.exists():
        tokenizer = TOKENIZERS[name](seed).set_params(checkpoint=out / "checkpoints")
        tokenizer.fit(collections(half)).save_pretrained(folder)
    return type(TOKENIZERS[name](seed)).from_pretrained(folder)


def judged_on(task: Task, half: int) -> SignalDataset:
    """Trials of the people that the tokenizers of a half have not seen."""
    trials = task.read(True)
    others = np.array([task.half(person) for person in trials.metadata["subject"].astype(str)]) != half
    return trials.subset(np.flatnonzero(others)[::3])


def mean_spectrum(half: int) -> pd.DataFrame:
    """Errors of what TFM-Tokenizer would give if its tokens told nothing: the mean spectrum of what it learned from."""

    def spectra(trials: SignalDataset) -> np.ndarray:
        signals = torch.from_numpy(np.asarray(trials.X, dtype=np.float32) * 1e6).flatten(0, 1)
        return magnitude_spectrum(cut_frames(quantile_scale(signals))).flatten(0, 1).numpy()

    mean = np.concatenate([spectra(trials) for trials in collections(half)]).mean(axis=0)
    found = []
    for task in TASKS[:2]:
        judged = judged_on(task, half)
        original = spectra(judged)
        table = band_errors([(original, np.broadcast_to(mean, original.shape))], np.arange(100.0)).reset_index()
        facts = {"tokenizer": "mean spectrum (no tokens)", "half": half, "dataset": task.name, "n": len(judged)}
        found.append(table.assign(seed=0, **facts))
    return pd.concat(found)


def study_learning(out: Path, names: list[str], seeds: int) -> dict[str, pd.DataFrame]:
    """Reconstruction and use of the codes, on people that were not learned from."""
    bands, usage = [], []
    for name in names:
        for half in HALVES:
            for seed in range(seeds if name in DECIDE else 1):
                tokenizer = learn(out, name, half, seed)
                facts = {"tokenizer": name, "half": half, "seed": seed}
                for task in TASKS[:2]:
                    judged = judged_on(task, half)
                    table = tokenizer.reconstruction_report(judged).reset_index()
                    bands.append(table.assign(dataset=task.name, n=len(judged), **facts))
                    print(name, half, seed, task.name, table[["band", "nmse"]].round(3).values.tolist(), flush=True)
                    usage.append(tokenizer.codebook_usage(judged).assign(dataset=task.name, **facts))
    bands += [mean_spectrum(half) for half in HALVES]
    errors, used = pd.concat(bands), pd.concat(usage)
    columns = ["nmse", "correlation", "power_ratio"]
    by_band = errors.groupby(["tokenizer", "dataset", "band"], sort=False)[columns].agg(["mean", "std"])
    by_band["trainings"] = errors.groupby(["tokenizer", "dataset", "band"], sort=False).size()
    levels = [column for column in ("scale", "level") if column in used]
    columns = ["share_used", "perplexity", "n_dead"]
    by_level = used.groupby(["tokenizer", "dataset", *levels], dropna=False)[columns].agg(["mean", "std"])
    return {"reconstruction by band": by_band.reset_index(), "use of codes": by_level.reset_index()}


def budget(task: Task) -> dict[str, Any]:
    """Epochs of batches of 8 that make about 160 steps: 270 trials, 224, 96, and 30 within a person."""
    epochs = {"eegmmidb-trials": 5, "eegmat": 6, "muse-ssvep": 13, "eegmmidb-within": 40}[task.title]
    return {"max_epochs": epochs, "batch_size": 8, "validation": None}


def classical(task: Task, seed: int) -> dict[str, Any]:
    """What tokens are compared with."""
    sfreq = float(task.read(False).info.sfreq or 0.0)
    net = NetClassifier(
        "EEGNet", {"batch_norm_momentum": 0.1, "drop_prob": 0.25}, lr=2e-3, schedule="cosine", sfreq=sfreq,
        class_weight="balanced", device="cpu", random_state=seed, **budget(task),
    )  # fmt: skip
    lr = LogisticRegression(max_iter=1000, class_weight="balanced")
    found = {"Chance": DummyClassifier(strategy="prior"), "TS+LR": make_pipeline(FastTangentSpace(estimator="oas"), lr)}
    return found | {"EEGNet from scratch": net} if task.tunes else found


def of_tokens(name: str, task: Task, out: Path, half: int, seed: int) -> dict[str, Any]:
    """Probes and fine-tuning on the tokenizer of a half."""
    tokenizer, info = learn(out, name, half, seed), task.read(True).info

    def probe(kind: str) -> Any:
        features = TokenFeatures(tokenizer, kind=kind, info=info)
        return make_pipeline(
            features, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000, class_weight="balanced")
        )

    found = {f"{name}, probe of embeddings": probe("embedding"), f"{name}, probe of tokens": probe("histogram")}
    if not task.tunes:
        return found
    tuned: dict[str, Any] = {"device": "cpu", "random_state": seed, "info": info, **budget(task)}
    if name == "TFM":
        found["TFM, fine-tuned"] = TFMClassifier(pretrained=FrozenEstimator(tokenizer), **tuned)
    else:
        embedder = FrozenEstimator(_embedder(out, tokenizer, half, seed))
        found["NeuroRVQ, fine-tuned"] = NeuroRVQClassifier(pretrained=embedder, **tuned)
    return found


def _embedder(out: Path, tokenizer: Any, half: int, seed: int) -> NeuroRVQEmbedder:
    folder = out / "embedders" / f"half{half}-seed{seed}"
    if not folder.exists():
        NeuroRVQEmbedder(
            tokenizer, max_epochs=2, batch_size=8, random_state=seed, device="cpu", checkpoint=out / "checkpoints"
        ).fit(collections(half)).save_pretrained(folder)
    return NeuroRVQEmbedder.from_pretrained(folder)


def study_decisions(out: Path, names: list[str], seeds: int) -> dict[str, pd.DataFrame]:
    """Scores of probes, fine-tuning and baselines under the same folds; each fold is kept when it is done."""
    rows = []
    # a seed of all that is trained by steps before the next, so that what is cut short has whole seeds
    for tunes, seed, half in product((True, False), range(seeds), HALVES):
        for task in (task for task in TASKS if task.tunes is tunes):
            if not list(task.folds(half)):  # one person is in one half
                continue
            # the people tested are those that the tokenizer of the other half has not seen
            makers: dict[str, Callable[[], dict[str, Any]]] = {"": partial(classical, task, seed)}
            for name in (name for name in names if name in DECIDE):
                makers[name] = partial(of_tokens, name, task, out, 1 - half, seed)
            for group, make in makers.items():
                path = out / "decided" / f"{task.title}-{group or 'classical'}-half{half}-seed{seed}.csv"
                if not path.exists():
                    table = pd.DataFrame(decide(task, make(), half, bool(group)))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    atomic_write(path, table.assign(seed=seed).to_csv(index=False))
                    print(table.groupby("pipeline")["score"].mean().round(3).to_dict(), path.stem, flush=True)
                rows.append(pd.read_csv(path, dtype={"subject": str}))
    return {"decisions": summary(pd.concat(rows))}


def decide(task: Task, pipelines: dict[str, Any], half: int, broad: bool) -> Iterator[dict[str, Any]]:
    """A row a pipeline and fold: area under the curve."""
    from sklearn.base import clone

    trials = task.read(broad)
    y = np.asarray(trials.y)
    positive = np.unique(y)[1]
    fitted: dict[str, Any] = {}
    for person, fold, train, test in task.folds(half):
        for name, pipeline in pipelines.items():
            if not (task.across and name in fitted):  # across people one decoder serves all of a half
                fitted[name] = clone(pipeline).fit(trials.X[train], y[train])
            scores = fitted[name].predict_proba(trials.X[test])[:, 1]
            yield {
                "dataset": task.title, "pipeline": name, "subject": person, "fold": fold, "n": len(test),
                "score": roc_auc_score(y[test] == positive, scores),
            }  # fmt: skip


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over people with its 95 % interval, spread over people and over seeds, and the gain on TS+LR.

    Of one person all is over the runs left out.
    """
    from scipy import stats

    found = []
    for (dataset, pipeline), part in rows.groupby(["dataset", "pipeline"], sort=False):
        over = "subject" if part["subject"].nunique() > 1 else "fold"
        people = part.groupby(over)["score"].mean()
        seeds = part.groupby(["seed", over])["score"].mean().groupby("seed").mean()
        reference = rows[(rows["dataset"] == dataset) & (rows["pipeline"] == "TS+LR")].groupby(over)["score"].mean()
        gain = (people - reference).dropna()
        n = len(people)
        half = stats.t.ppf(0.975, n - 1) * people.std() / np.sqrt(n) if n > 1 else np.nan
        p = stats.wilcoxon(gain).pvalue if n > 5 and gain.abs().any() and pipeline != "Chance" else np.nan
        found.append(
            {"dataset": dataset, "pipeline": pipeline, "over": "people" if over == "subject" else "runs", "n": n,
             "trials": int(part[part["seed"] == part["seed"].iloc[0]]["n"].sum()), "seeds": len(seeds),
             "auc": people.mean(), "ci_low": people.mean() - half, "ci_high": people.mean() + half,
             "sd_over": people.std(), "sd_seeds": seeds.std(), "chance": 0.5, "gain_on_ts_lr": gain.mean(), "p": p}
        )  # fmt: skip
    table = pd.DataFrame(found)
    table["p_holm"] = table.groupby("dataset")["p"].transform(lambda p: holm(p) if p.notna().any() else p)
    return table


def check_settings(out: Path) -> None:
    """Refuse a folder of other settings."""
    said = {
        "tokenizers": {name: repr(make(0).get_params()) for name, make in TOKENIZERS.items()},
        "tasks": {task.title: [task.reading, task.across, task.keep, task.step, budget(task)] for task in TASKS},
    }
    path = out / "settings.json"
    text = json.dumps(said, indent=1, default=str)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{out} holds results of other settings: give another folder")
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text)


PARTS = {"learn": study_learning, "decide": study_decisions}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study_tokenizers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("out", type=Path, help="folder for tables and all that is kept")
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="only these")
    parser.add_argument("--only", nargs="+", choices=tuple(TOKENIZERS), default=list(TOKENIZERS), help="tokenizers")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each")
    options = parser.parse_args()
    check_settings(options.out)
    _PLACE.append(options.out)
    for part in options.part:
        for name, table in PARTS[part](options.out, options.only, options.seeds).items():
            atomic_write(options.out / f"{name}.csv", table.to_csv(index=False))
            print(f"{name}\n{table.to_string(index=False, float_format=lambda value: f'{value:.3f}')}\n", flush=True)


if __name__ == "__main__":
    main()
