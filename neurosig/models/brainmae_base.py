"""What the estimators of BrainMAE share: which runs they take, and how runs go through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.joined_epochs import is_fold, joined_epochs
from neurosig.core.log import logger
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.models.brainmae import BrainMAE
from neurosig.models.brainmae_runs import (
    KnownRuns,
    PaddedRuns,
    common_t_r,
    known_runs,
    region_order,
    said_t_r,
    same_t_r,
    samples_of_segment,
    stacked,
)
from neurosig.tokenizers.learning import brings_facts
from neurosig.training.batches import as_tensor
from neurosig.training.nets import full_precision, products_in
from neurosig.training.trial_data import _given_spec

__all__ = ["FACTS", "SIZES", "LearnedBrainMAE", "TakesRuns", "collections_of"]

#: Options of `BrainMAE` that its estimators have too.
SIZES = (
    "variant", "segment", "n_segments", "emb_size", "n_heads", "depth", "temporal_depth", "decoder_depth", "mlp_ratio",
    "drop_prob", "region_embedding", "self_loops", "mask_ratio", "masked_weight",
    "decoder_token", "init_std",
)  # fmt: skip
# what a fitted estimator knows beside what its storage keeps anyway, in JSON-like types
FACTS = ("t_r_", "data_t_r_", "resampled_", "region_names_", "_data_names")


class LearnedBrainMAE(BrainMAE):
    """`BrainMAE` as estimators train it, which can be frozen once it is trained."""

    def undecayed(self) -> list[str]:
        """Patterns of the names of parameters that have no weight decay: biases, norms, embeddings."""
        return ["*bias", "*norm*", "*region_embedding", "*class_token", "*class_embedding"]

    def freeze(self) -> Self:
        """Keep all as it is."""
        self._frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once frozen it stays in evaluation mode."""
        return super().train(mode and not getattr(self, "_frozen", False))

    def measured(self, x: torch.Tensor, step: int | None = None) -> torch.Tensor:
        """Which regions were measured throughout which segment of runs: bool, (n, n_segments, n_chans)."""
        return self._overlapping(x, step)[1]

    def states(self, x: torch.Tensor, *, contextual: bool = False, step: int | None = None) -> torch.Tensor:
        """States of the segments of runs, after the temporal encoder or before.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            As for `forward`.
        contextual : bool
            Whether they have been through the temporal encoder.
        step : int, optional
            Volumes from the beginning of a segment to that of the next; a segment's, by default.

        Returns
        -------
        tensor of shape (n, n_segments, emb_size)
            Zeros for segments in which nothing was measured.
        """
        segments, present = self._overlapping(x, step)
        states = self._states(segments, present)[0]
        return self._contextual(states, present.any(dim=-1)) if contextual else states

    def _overlapping(self, x: torch.Tensor, step: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments that begin every so many volumes, as `_segments` gives those that follow each other."""
        if step is None:
            return self._segments(x)
        self._check(x)
        segments = x.unfold(2, self.samples, step).transpose(1, 2)
        return segments, ~segments.isnan().any(dim=-1)

    def window_means(self, x: torch.Tensor) -> torch.Tensor:
        """What the head reads: mean contextual state of each window, and its number of segments.

        Parameters
        ----------
        x : tensor of shape (n, n_chans, n_times)
            As for `forward`.

        Returns
        -------
        tensor of shape (n, n_windows, emb_size + 1)
            Zeros for windows in which a run has no segment.
        """
        segments, present = self._segments(x)
        valid = present.any(dim=-1)
        number = self._windows(valid).sum(dim=-1)[..., None]
        sums = self._windows(self._contextual(self._states(segments, present)[0], valid)).sum(dim=2)
        return torch.cat([sums / number.clamp(min=1), number.to(sums.dtype)], dim=-1)


class TakesRuns:
    """Mixin of estimators whose X are runs of region series.

    Parameters
    ----------
    variant : {"sg", "ag", "vanilla"}
        Attention between regions: static, as published to be best; adaptive after one static block; or that of an
        ordinary transformer.
    segment : float
        Seconds of a segment, which becomes one state.
    n_segments : int
        Segments of a crop: what the network sees at once.
    emb_size, n_heads, depth, temporal_depth, decoder_depth, mlp_ratio, drop_prob : object
        Sizes, as of `BrainMAE`.
    region_embedding : {"learned", "sincos"}
        Whether regions have learned embeddings, or fixed ones.
    self_loops : bool
        Whether a region attends to itself.
    mask_ratio : (float, float) or None
        Range of the share of regions that are hidden in a segment in pretraining; None hides none.
    masked_weight : float
        Weight of the hidden part in the loss of pretraining, from 0 to 1.
    decoder_token : {"product", "sum"}
        How the decoder joins state and region: multiplied, which is ours and learns several times faster, or added, as
        published; see `BrainMAE`.
    init_std : float or None
        Standard deviation of weights and embeddings at the start. None lets learning begin at once, see `BrainMAE`;
        small ones, as 0.02, leave all regions alike for hundreds of steps. A head begins with 0.02 either way, and
        pretrained weights as they are.
    standardize : {"run", None}
        Whether each region is put into z-scores over its run; None takes series as they are.
    resample_to : float, optional
        Repetition time in seconds at which the network works. None takes that of most runs fitted on.
    on_missing : {"raise", "mask"}
        What becomes of regions that a run lacks, by name or as NaN throughout: refused, or done without, as those that
        are hidden in pretraining.
    on_unknown : {"raise", "drop"}
        What becomes of regions that the network does not know by name.
    t_r : float, optional
        Repetition time of arrays in seconds; a `SignalDataset` tells its own, also where runs differ.
    sfreq : float, optional
        The same in Hz, ``1 / t_r``.
    ch_names : list of str, optional
        Names of the regions of arrays.
    info : SignalSpec or mne.Info, optional
        All that is known about arrays.

    Attributes
    ----------
    region_names_ : list of str or None
        Regions in the network's order, where names are known.
    t_r_ : float
        Repetition time at which the network works, in seconds.
    data_t_r_ : float or None
        That of the runs fitted on, where it is one; arrays are taken to have it.
    resampled_ : dict
        Repetition time (text, in seconds) to the number of runs fitted on that were resampled from it.
    n_features_in_ : int
        Regions.
    """

    # asked for by default: a YAML pipeline has no room for set_fit_request; evaluations tell subjects
    __metadata_request__fit: ClassVar = {"groups": "subjects", "t_r": True}
    __metadata_request__transform: ClassVar = {"t_r": True}

    standardize: str | None
    resample_to: float | None
    on_tr_mismatch: str
    on_missing: str
    on_unknown: str
    t_r: float | None
    sfreq: float | None
    ch_names: Any
    info: Any
    batch_size: int
    buffer_bytes: int
    precision: str
    segment: float
    module_: Any
    _device: torch.device
    _config: dict[str, Any]

    _whose = "the network"
    t_r_: float
    data_t_r_: float | None
    resampled_: dict[str, int]
    region_names_: list[str] | None
    spec_: SignalSpec | None
    n_features_in_: int
    _data_names: list[str] | None

    def _check_run_options(self) -> None:
        for name, known in (
            ("standardize", ("run", None)), ("on_missing", ("raise", "mask")), ("on_unknown", ("raise", "drop")),
        ):  # fmt: skip
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")

    def fit_transform(self, X: Any, y: Any = None, *, groups: Any = None, t_r: Any = None) -> np.ndarray:
        """Fit, then give the embedding of each run.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        y, groups, t_r : object
            As for `fit`.

        Returns
        -------
        float32 array of shape (n_runs, emb_size)
            Embeddings.
        """
        return self.fit(X, y, groups=groups, t_r=t_r).transform(X, t_r=t_r)  # type: ignore[attr-defined]

    # -- runs to learn from -------------------------------------------------------------------------------------------

    def _runs_to_fit(
        self, given: Sequence[Any], t_r: Any, source: Any = None
    ) -> list[tuple[Any, np.ndarray, SignalSpec | None]]:
        """Collections as the network takes them: padded runs, their lengths, and what is known of them.

        Parameters
        ----------
        given : sequence
            Collections of runs.
        t_r : float, array or None
            What `fit` was told of repetition times.
        source : estimator, optional
            The pretrained one, whose regions and repetition time hold.

        Returns
        -------
        list of (array of shape (n_runs, n_regions, n_times), int array, SignalSpec or None)
        """
        self._check_run_options()
        self._whose = "the first collection" if source is None else "the pretrained network"
        known = self._all_known(given, t_r)
        names = self._regions(known, source)
        rates = np.concatenate([one.t_r for one in known if one.t_r is not None])
        self.t_r_ = self._working_t_r(rates, source)
        self.data_t_r_ = float(rates[0]) if all(same_t_r(rates[0], rate) for rate in rates) else None
        others = [float(rate) for rate in rates if not same_t_r(rate, self.t_r_)]
        self.resampled_ = {f"{rate:g}": others.count(rate) for rate in sorted(set(others))}
        if others:
            logger.info(
                "%s: %d of %d runs are resampled to t_r=%g s (from %s)", type(self).__name__, len(others), len(rates),
                self.t_r_, ", ".join(self.resampled_),
            )  # fmt: skip
        self.region_names_ = None if names is None else list(names)
        layouts = {one.names for one in known}
        self._data_names = list(known[0].names) if len(layouts) == 1 and known[0].names is not None else None
        self.n_features_in_ = len(known[0].runs[0]) if len(layouts) == 1 or names is None else len(names)
        self.sfreq_: float | None = 1 / self.t_r_
        self._n_regions = self.n_features_in_ if names is None else len(names)
        found = [(*self._padded(one), self._spec_of(one)) for one in known]
        del self._whose
        return found

    def _all_known(self, given: Sequence[Any], t_r: Any) -> list[KnownRuns]:
        said = said_t_r(self.t_r, self.sfreq) if t_r is None else t_r
        told = self._told_spec()
        found = []
        for one in given:
            own = brings_facts(one)
            found.append(
                known_runs(one, estimator=self, reset=True, t_r=None if own and t_r is None else said, spec=told)
            )
            if found[-1].t_r is None:
                raise UsageError(
                    f"{type(self).__name__} needs the repetition time of the runs: pass t_r=... (seconds), sfreq=... "
                    "(Hz), or a SignalDataset that tells it"
                )
        sizes = {len(one.runs[0]) for one in found if one.names is None}
        if len(sizes) > 1 or (sizes and any(one.names is not None and len(one.names) not in sizes for one in found)):
            raise ChannelError("collections without names of regions must all have the same regions; pass ch_names=...")
        return found

    def _told_spec(self) -> SignalSpec | None:
        if isinstance(self.ch_names, str):
            raise UsageError(f"ch_names must be a list of names, one a region, got the text {self.ch_names!r}")
        spec = _given_spec(self.info)
        if self.ch_names is None:
            return spec
        names = tuple(map(str, self.ch_names))
        if spec is not None and spec.ch_names != names:
            raise UsageError(f"ch_names are {listed(names)}, info names {listed(spec.ch_names)}; give one of them")
        return SignalSpec("fmri", names, unit="a.u.") if spec is None else spec

    def _regions(self, known: Sequence[KnownRuns], source: Any) -> Sequence[str] | None:
        """Names of the network's regions, in order."""
        if source is not None:
            n = len(known[0].runs[0])
            if source.region_names_ is None or known[0].names is None:
                if n != source._config["n_chans"]:
                    raise ChannelError(
                        f"expected {source._config['n_chans']} regions, as the pretrained network was trained on, got "
                        f"{n}; names of both (ch_names=..., info=...) would let them be matched"
                    )
                if source.region_names_ is not None:
                    logger.info(
                        "nothing says which regions these are: taken to be the pretrained network's; pass info=..., "
                        "to have it checked"
                    )
            return source.region_names_ if source.region_names_ is not None else known[0].names
        named = [one.names for one in known if one.names is not None]
        if not named:
            return None
        if self.on_missing == "mask":
            return list(dict.fromkeys(name for names in named for name in names))
        return list(named[0])

    def _working_t_r(self, rates: np.ndarray, source: Any) -> float:
        """Repetition time at which the network works."""
        mixed = sorted({f"{rate:g}" for rate in rates})
        policy = self.on_tr_mismatch
        if source is not None and policy != "reinit":
            wanted, whose = float(source.t_r_), "the pretrained network's"
        elif self.resample_to is not None:
            wanted, whose = float(said_t_r(self.resample_to, None) or 0), "asked for"
        else:
            wanted, whose = common_t_r(rates), "that of most"
        if policy == "error" and (other := [rate for rate in rates if not same_t_r(rate, wanted)]):
            raise UsageError(
                f"{len(other)} of {len(rates)} runs have another repetition time (runs: {', '.join(mixed)} s) than "
                f"{wanted:g} s, {whose}; on_tr_mismatch='resample' resamples them"
            )
        return wanted

    def _spec_of(self, known: KnownRuns) -> SignalSpec | None:
        """What is known of the network's input, from a collection."""
        if known.spec is None or self.region_names_ is None:
            return None
        spec, names = known.spec, tuple(self.region_names_)
        place = {name: i for i, name in enumerate(spec.ch_names)}
        there = all(name in place for name in names)
        types = tuple(spec.ch_types[place[name]] if name in place else spec.ch_types[0] for name in names)
        positions = None
        if spec.positions is not None and there:
            positions = tuple(spec.positions[place[name]] for name in names)
        return spec.replace(
            ch_names=names, ch_types=types, positions=positions, sfreq=1 / self.t_r_, processing=None,
            t_r=self.t_r_ if spec.modality == "fmri" else spec.t_r, n_times=None, extra={},
            unit="z" if self.standardize == "run" else spec.unit,
        )  # fmt: skip

    # -- runs as the network takes them -------------------------------------------------------------------------------

    def _padded(self, known: KnownRuns) -> tuple[Any, np.ndarray]:
        """Runs in the network's order and at its rate, NaN where there is nothing; and their lengths."""
        order = region_order(
            self.region_names_, known.names, on_missing=self.on_missing, on_unknown=self.on_unknown,
            who=self._whose,
        )  # fmt: skip
        runs = PaddedRuns(
            known, self.t_r_, order, self.standardize == "run", allow_missing=self.on_missing == "mask",
            names=self.region_names_,
        )  # fmt: skip
        fewest = samples_of_segment(self._segment(), 1 / self.t_r_)
        if len(short := np.flatnonzero(runs.lengths < fewest)):
            one = int(short[0])
            raise InputError(
                f"expected runs of at least one segment of {self._segment():g} s ({fewest} volumes at t_r="
                f"{self.t_r_:g} s), run {one} has {runs.lengths[one]}"
                + (f", and {len(short) - 1} more are too short" if len(short) > 1 else "")
                + "; give a shorter segment, or drop them"
            )
        return stacked(runs, self.region_names_, self.buffer_bytes), runs.lengths

    def _segment(self) -> float:
        """Seconds of a segment."""
        config = vars(self).get("_config")  # the parameter may have been set otherwise since
        return float(self.segment if config is None else config["segment"])

    def _runs_to_use(self, X: Any, t_r: Any) -> tuple[Any, np.ndarray]:
        """Runs that come after the fit, and their lengths."""
        check_is_fitted(self)
        self._check_run_options()
        if isinstance(X, list | tuple) and len(X) and all(isinstance(one, SignalDataset) for one in X):
            raise UsageError(f"{type(self).__name__} fits on several collections, and takes one at a time after that")
        # arrays have the regions that those of the fit had
        names = None if brings_facts(X) or self._data_names is None else tuple(self._data_names)
        known = known_runs(
            X, estimator=self, reset=False, t_r=t_r, fallback=self.data_t_r_,
            spec=None if names is None else SignalSpec("fmri", names, unit="a.u."),
        )  # fmt: skip
        if known.t_r is None:
            raise UsageError(
                f"{type(self).__name__} was fitted on runs of several repetition times: say those of these, t_r=... "
                "(seconds, one or one a run), or give a SignalDataset"
            )
        return self._padded(known)

    def _each_batch_of_runs(
        self, X: Any, function: Callable[[torch.Tensor], Any], t_r: Any = None
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Batches of runs of about the same length: which runs these are, and what a function makes of them."""
        runs, lengths = self._runs_to_use(X, t_r)
        _ = self.module_
        order = np.argsort(-lengths, kind="stable")
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            ascending = np.sort(rows)
            batch = as_tensor(runs[ascending][:, :, : lengths[rows].max()]).to(self._device)
            with torch.no_grad(), products_in(self.precision, self._device):
                yield ascending, function(batch)

    def _over_runs(self, X: Any, function: Callable[[torch.Tensor], torch.Tensor], t_r: Any = None) -> np.ndarray:
        """What a function of padded runs makes of each."""
        found: np.ndarray | None = None
        rows, parts = [], []
        for index, output in self._each_batch_of_runs(X, function, t_r):
            rows.append(index)
            parts.append(full_precision(output).cpu().numpy())
        together, values = np.concatenate(rows), np.concatenate(parts)
        found = np.empty_like(values)
        found[together] = values
        if not np.isfinite(found).all():
            raise InputError(
                f"the network answers {int(np.sum(~np.isfinite(found).reshape(len(found), -1).all(axis=1)))} of "
                f"{len(found)} runs with numbers that are not finite: its weights are damaged, or its training ran away"
            )
        return found

    def _network_config(self, n_outputs: int | None) -> dict[str, Any]:
        """Keyword arguments of `BrainMAE`, JSON-like."""
        own: Mapping[str, Any] = {name: getattr(self, name) for name in SIZES if hasattr(self, name)}
        config: dict[str, Any] = dict(own) | {
            "n_chans": self._n_regions,
            "n_outputs": n_outputs,
            "sfreq": 1 / self.t_r_,
        }
        if config.get("mask_ratio") is not None:
            config["mask_ratio"] = [float(share) for share in config["mask_ratio"]]
        return config


def collections_of(X: Any) -> list[Any]:
    """Collections of runs that were given: several datasets, or one of anything."""
    if is_fold(X):
        X = joined_epochs(X)
    several = isinstance(X, list | tuple) and bool(X) and all(map(brings_facts, X))
    return list(X) if several else [X]
