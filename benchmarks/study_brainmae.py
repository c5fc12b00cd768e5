"""BrainMAE for real: autism against control on ABIDE, and segments of a story, beside what is simple.

``python -m benchmarks.study_brainmae OUT [--folds subject|site] [--only NAME,NAME] [--seeds N] [--part ...] [--table]``
(NEUROSIG_DATA names the folder of the recordings). A call that was killed is repeated as it was and goes on: each
decision is kept in OUT under all that it depends on.

``decide``
    318 people of 5 sites, one run each. Folds leave a fifth of the people out, stratified by diagnosis and balanced by
    site, or one site. Networks are pretrained on the training people of the fold alone, without labels; then fine-tuned
    on them, or a linear model learns from what they make of runs: from their embeddings, or from the connectivity of
    their states ("states+tangent+LR": the pipeline FC-tangent+LR with states in place of regions; "every 4 s": of
    segments that overlap). Connectivity with a linear model stands beside them, and BrainMAE from scratch. "with FC"
    averages the ranks of a network's scores and those of FC+LR (both of the same training people): does the network
    know anything that connectivity does not?
    Ablations ("short ...") are pretrained more briefly, all alike.
``story``
    24 people who heard the same story. BrainMAE is pretrained on one half of them. Of the others each 15-s segment of
    one group's mean is to be found among those of the other group's, by the raw factors and by the network's states.

The budget is a few hours of one slow core, so that sizes are small (`SIZES`) and epochs few (`PRETRAINING`, `TUNING`).
Nothing was chosen by labels: start, decoder and rate are those that filled in hidden regions best, on simulated
networks and on a sixth of the people of one repetition time.

A score is the area under the ROC curve, in each fold, averaged over folds. Its interval is the bootstrap's, over people
within diagnosis and site, trained networks being what they are: it tells how certain the score of these networks is on
people like these, not how much another training would move it; for that stands the spread over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosig.core.files import atomic_write, digest
from neurosig.core.signals import SignalDataset
from neurosig.core.source import source_digest
from neurosig.evaluation import load_pipelines, site_folds, subject_folds
from neurosig.evaluation.corrections import holm
from neurosig.evaluation.segment_matching import segment_matching
from neurosig.loaders.manifest import open_dataset
from neurosig.models import BrainMAEClassifier, BrainMAEEmbedder

SIZES: dict[str, Any] = {
    "emb_size": 64, "n_heads": 16, "depth": 2, "temporal_depth": 1, "mlp_ratio": 2.0, "segment": 15.0, "n_segments": 8,
}  # fmt: skip
PRETRAINING: dict[str, Any] = {
    "max_epochs": 16, "batch_size": 4, "lr": 2e-3, "drop_prob": 0.0, "mask_ratio": (0.0, 0.5),
}  # fmt: skip
SHORT = {"max_epochs": 6}
TUNING: dict[str, Any] = {
    "max_epochs": 8, "batch_size": 8, "lr": 1e-3, "drop_prob": 0.1, "validation": None, "class_weight": "balanced",
}  # fmt: skip
SIMPLE = ("FC+LR", "FC-partial+LR", "FC-tangent+LR")
# how the network is made, whether it is pretrained, and what learns from it: the network itself, with these options, or
# a linear model, from its embedding or from the connectivity of its states
NETWORKS: dict[str, tuple[dict[str, Any], bool, dict[str, Any] | str]] = {
    "BrainMAE": ({}, True, {}),
    "BrainMAE from scratch": ({}, False, {}),
    "BrainMAE embedding+LR": ({}, True, "embedding"),
    "BrainMAE states+tangent+LR": ({}, True, "states"),
    "BrainMAE states every 4 s+tangent+LR": ({}, True, "states every 4 s"),
    "BrainMAE, regions dropped": ({}, True, {"region_dropout": 0.3}),
    "short": (SHORT, True, "states"),
    "short, AG": ({**SHORT, "variant": "ag"}, True, "states"),
    "short, vanilla": ({**SHORT, "variant": "vanilla"}, True, "states"),
    "short, fixed embeddings": ({**SHORT, "region_embedding": "sincos"}, True, "states"),
    "short, self-loops": ({**SHORT, "self_loops": True}, True, "states"),
    "short, nothing hidden": ({**SHORT, "mask_ratio": None}, True, "states"),
    "short, sums in the decoder": ({**SHORT, "decoder_token": "sum"}, True, "states"),
}
MAIN = tuple(name for name in NETWORKS if name.startswith("BrainMAE"))
N_BOOT = 2000


@cache
def people() -> SignalDataset:
    """The runs of ABIDE, with labels."""
    return open_dataset("abide", data=os.environ.get("NEUROSIG_DATA")).load()


def folds_of(kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and tested people of each fold."""
    data = people()
    return site_folds(data.y, data.metadata) if kind == "site" else subject_folds(data.y, data.metadata)


def decide(out: Path, kind: str, name: str, seed: int) -> np.ndarray:
    """Scores of all people, each by what has not learned from them; NaN where nobody was tested."""
    scores = np.full(len(people()), np.nan)
    for train, test in folds_of(kind):
        key = digest(name, _how(name), seed, train.tolist(), source_digest("neurosig", installed=True))
        place = out / "scores" / f"{key}.json"
        if place.is_file():
            kept = json.loads(place.read_text())
        else:
            started = time.perf_counter()
            kept = {
                "name": name,
                "folds": kind,
                "seed": seed,
                "test": test.tolist(),
                **_scores(out, name, seed, train, test),
            }
            kept["seconds"] = round(time.perf_counter() - started, 1)
            place.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(place, json.dumps(kept))
            print(f"{time.strftime('%H:%M')} {kind} {name}, seed {seed}: {kept['seconds']} s", flush=True)
        scores[test] = kept["scores"]
    return scores


def _how(name: str) -> Any:
    return [NETWORKS[name], SIZES, PRETRAINING, TUNING] if name in NETWORKS else None


def _scores(out: Path, name: str, seed: int, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """What is said of the tested people, and how well the series of theirs were filled in."""
    data = people()
    seen, new = data.subset(train), data.subset(test)
    if name not in NETWORKS:
        model = clone(load_pipelines(names=name)[name])
        model.fit(seen.X, seen.y)
        return {"scores": model.predict_proba(new.X)[:, 1].tolist()}
    network, pretrained, head = NETWORKS[name]
    embedder, told = _pretrained(out, network, seed, seen, new) if pretrained else (None, {})
    if isinstance(head, str):
        of_states = head.startswith("states")
        embedder.set_params(output="states" if of_states else head, step=4.0 if head == "states every 4 s" else None)
        on_states = clone(load_pipelines(names="FC-tangent+LR")["FC-tangent+LR"])
        on_embedding = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        probe = on_states if of_states else on_embedding
        probe.fit(embedder.transform(seen), seen.y)
        return {"scores": probe.predict_proba(embedder.transform(new))[:, 1].tolist(), **told}
    sizes = {} if embedder is not None else {**SIZES, **network}
    classifier = BrainMAEClassifier(embedder, **{**sizes, **TUNING, **head}, device="cpu", random_state=seed).fit(seen)
    return {"scores": classifier.predict_proba(new)[:, 1].tolist(), **told}


def _pretrained(
    out: Path, network: Mapping[str, Any], seed: int, seen: SignalDataset, new: SignalDataset
) -> tuple[BrainMAEEmbedder, dict[str, Any]]:
    """An embedder of these people, learned once, and its R2 on the others."""
    params = {**SIZES, **PRETRAINING, **network}
    place = (
        out
        / "embedders"
        / digest(params, seed, seen.metadata["subject"].tolist(), source_digest("neurosig", installed=True))
    )
    if (place / "model.safetensors").is_file():
        embedder = BrainMAEEmbedder.from_pretrained(place, device="cpu")
        return embedder, json.loads((place.parent / f"{place.name}.json").read_text())
    embedder = BrainMAEEmbedder(**params, device="cpu", random_state=seed).fit(seen)
    found = embedder.reconstruction(new)
    told = {
        "masked_r2": found.masked_total,
        "unmasked_r2": found.unmasked_total,
        "loss": embedder.history_[-1]["train_masked"],
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(place.parent / f"{place.name}.json", json.dumps(told))
    embedder.save_pretrained(place)
    return embedder, told


def areas(
    scores: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], drawn: np.ndarray
) -> np.ndarray:
    """Area under the ROC curve in each fold, averaged; for each draw (n_draws, n_people), how often a person counts."""
    found = []
    for _, test in folds:
        of_one, of_zero = test[y[test] == 1], test[y[test] == 0]
        above = (scores[of_one, None] > scores[of_zero]) + 0.5 * (scores[of_one, None] == scores[of_zero])
        pairs = drawn[:, of_one].sum(axis=1) * drawn[:, of_zero].sum(axis=1)
        found.append(((drawn[:, of_one] @ above) * drawn[:, of_zero]).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))
    return np.nanmean(found, axis=0)


def table(scores: Mapping[str, list[np.ndarray]], kind: str, against: str = "FC+LR") -> pd.DataFrame:
    """A row a method: score, interval, spread over seeds, and gain on another with its corrected p.

    Parameters
    ----------
    scores : dict of str to list of array
        Of each method those of its seeds.
    kind : str
        The folds.
    against : str
        With whom all are compared, on the same people in the same draws.
    """
    data, folds = people(), folds_of(kind)
    y = (data.y == np.unique(data.y)[1]).astype(int)
    rng = np.random.default_rng(0)
    strata = (data.metadata["site"].astype(str) + " " + pd.Series(data.y).astype(str)).to_numpy()
    draws = np.ones((1 + N_BOOT, len(y)))  # the first is everybody once
    for one in np.unique(strata):
        its = np.flatnonzero(strata == one)
        draws[1:, its] = rng.multinomial(len(its), np.full(len(its), 1 / len(its)), size=N_BOOT)
    by_name = {name: np.stack([areas(one, y, folds, draws) for one in those], axis=1) for name, those in scores.items()}
    rows = []
    for name, found in by_name.items():
        mean = found.mean(axis=1)
        gain = mean - by_name[against].mean(axis=1)
        low, high = np.quantile(mean[1:], [0.025, 0.975])
        less, more = np.quantile(gain[1:], [0.025, 0.975])
        below = min(1.0, 2 * min((gain[1:] <= 0).mean(), (gain[1:] >= 0).mean()) + 2 / N_BOOT)
        rows.append({
            "method": name, "auc": mean[0], "low": low, "high": high, "seeds": found.shape[1],
            "sd_seeds": found[0].std(ddof=1) if found.shape[1] > 1 else np.nan,
            "gain": gain[0], "gain_low": less, "gain_high": more, "p": np.nan if name == against else below,
        })  # fmt: skip
    made = pd.DataFrame(rows)
    tested = made["p"].notna()
    made.loc[tested, "p_holm"] = holm(made.loc[tested, "p"].to_numpy())
    return made.sort_values("auc", ascending=False, ignore_index=True)


def with_connectivity(
    network: np.ndarray, connectivity: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Mean of the ranks that two methods give the people of a fold."""
    mixed = np.full(len(network), np.nan)
    for _, test in folds:
        mixed[test] = (rankdata(network[test]) + rankdata(connectivity[test])) / (2 * len(test))
    return mixed


def show(made: pd.DataFrame, kind: str) -> None:
    """The table as text."""
    print(
        f"\nABIDE, {len(people())} people, folds by {kind}, area under the ROC curve [95 %], chance 0.5; gain on FC+LR"
    )
    for row in made.itertuples():
        spread = "" if np.isnan(row.sd_seeds) else f", sd over {row.seeds} seeds {row.sd_seeds:.3f}"
        gain = (
            ""
            if np.isnan(row.p)
            else f"; {row.gain:+.3f} [{row.gain_low:+.3f}, {row.gain_high:+.3f}], Holm p {row.p_holm:.3f}"
        )
        print(f"  {row.method:28s} {row.auc:.3f} [{row.low:.3f}, {row.high:.3f}]{spread}{gain}")


def story(seeds: int) -> None:
    """Time-segment matching by raw factors and by states."""
    data = open_dataset("fmri-story", data=os.environ.get("NEUROSIG_DATA")).load()
    raw = segment_matching(data, segment=15.0)
    print(f"\nstory, {len(data)} people, halves: raw factors {raw}")
    order = np.random.default_rng(0).permutation(len(data))
    learned, others = np.sort(order[: len(data) // 2]), np.sort(order[len(data) // 2 :])
    print(f"  within the people not learned from: raw factors {segment_matching(data.subset(others), segment=15.0)}")
    for seed in range(seeds):
        sizes = {**SIZES, "segment": 15.0, "n_segments": 20}
        embedder = BrainMAEEmbedder(**sizes, **{**PRETRAINING, "max_epochs": 150}, device="cpu", random_state=seed)
        embedder.fit(data.subset(learned))
        X = [np.asarray(one) for one in embedder.states(data.subset(others))]
        print(f"  seed {seed}: masked loss {embedder.history_[-1]['train_masked']:.2f}; states {segment_matching(X)}")


def main(argv: list[str] | None = None) -> None:
    """Run what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", choices=("decide", "story"), default="decide")
    parser.add_argument("--folds", choices=("subject", "site"), default="subject")
    parser.add_argument("--only", type=lambda text: text.split(";"), help="names, with ; between them")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(argv)
    if given.part == "story":
        story(given.seeds)
        return
    names = given.only or [*SIMPLE, *NETWORKS]
    scores = {
        name: [decide(given.out, given.folds, name, seed) for seed in range(given.seeds if name in NETWORKS else 1)]
        for name in dict.fromkeys(["FC+LR", *names])
    }
    folds = folds_of(given.folds)
    for name in [name for name in names if name in MAIN]:
        scores[f"{name} with FC"] = [with_connectivity(one, scores["FC+LR"][0], folds) for one in scores[name]]
        if given.seeds > 1:
            scores[f"{name}, ensemble of seeds"] = [np.mean(scores[name], axis=0)]
    made = table(scores, given.folds)
    given.out.mkdir(parents=True, exist_ok=True)
    made.to_csv(given.out / f"{given.folds}.csv", index=False)
    show(made, given.folds)


if __name__ == "__main__":
    main()
