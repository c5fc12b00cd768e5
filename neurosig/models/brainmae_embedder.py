"""`BrainMAEEmbedder`: BrainMAE pretrained on runs without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.pretrained import PretrainedFormat
from neurosig.core.registry import register
from neurosig.core.signals import SignalSpec
from neurosig.models.brainmae_base import FACTS, LearnedBrainMAE, TakesRuns, collections_of
from neurosig.models.brainmae_card import brainmae_card
from neurosig.models.brainmae_insight import Reconstructs
from neurosig.tokenizers.learning import SelfSupervisedEstimator, Windows, _owners
from neurosig.training.batches import BUFFER_BYTES

__all__ = ["BrainMAEEmbedder"]

_POLICIES = ("resample", "error")
_OUTPUTS = ("embedding", "states")


@register(kind="model")
@inherits_documentation
class BrainMAEEmbedder(Reconstructs, TakesRuns, SelfSupervisedEstimator):
    """Embed runs of region series by BrainMAE, which learns without labels to fill in hidden regions.

    Parameters
    ----------
    output : {"embedding", "states"}
        What `transform` gives: one vector a run, or the states of its segments, a series that
        `neurosig.preprocessing.FunctionalConnectivity` reads as it reads regions. As z-scores have no mean, a vector
        that is a mean over a run keeps little of how its regions go together; the states' connectivity keeps it.
    step : float, optional
        With ``output="states"``: seconds from the beginning of a segment to that of the next, see `states`. Segments
        that overlap give more states of short runs, and their connectivity is known better.
    on_tr_mismatch : {"resample", "error"}
        What becomes of runs with another repetition time than the network works at: resampled along straight lines, or
        refused.
    max_epochs : int
        Passes over the runs at most; each shows one crop of `n_segments` segments of each run.
    batch_size : int
        Runs in a batch.
    weight_decay : float
        Handed to the optimizer, AdamW; not of biases, norms and embeddings.
    warmup : float or None
        Epochs in which the learning rate rises from zero to `lr`; None takes a tenth of `max_epochs`.
    validation : float or None
        Share of the runs on which the training is judged after each epoch, whole `groups` where these are given. The
        weights of the best epoch are kept. None judges nothing and keeps the last.
    checkpoint : path-like, optional
        Folder that keeps the state after each epoch: a training that was killed goes on there when it is called again,
        with the same parameters and runs.
    buffer_bytes : int
        Bytes of runs that are held at once where they are read one by one (`SignalDataset` of lazy runs).

    Attributes
    ----------
    n_windows_ : int
        Runs that were there to learn from.
    n_times_ : int
        Volumes of the longest run (of the first collection), at `t_r_`.
    sfreq_ : float
        ``1 / t_r_``.

    See Also
    --------
    BrainMAEClassifier : Starts from it: ``BrainMAEClassifier(pretrained=embedder)``.
    BrainMAERegressor : Likewise.

    Notes
    -----
    Source: Yang et al. [1]_. No code of the authors is public, and sizes, optimizer and schedule are not known from
    the paper's abstract and its public reviews: those here are ours.

    Runs may be of different lengths and, where they tell it, of different repetition times; several datasets with
    different atlases fit together as far as regions have the same names (`on_missing`, `on_unknown`). z-scores are
    taken over whole runs, so that a state has seen what comes later in its run.

    References
    ----------
    .. [1] Yang, Mao, Liu, Liu, "BrainMAE: A region-aware self-supervised learning framework for brain signals", 2024,
       https://arxiv.org/abs/2406.17086

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import BrainMAEEmbedder
    >>> rng = np.random.default_rng(0)
    >>> runs = [rng.standard_normal((6, n)) for n in (60, 80, 60, 100)]
    >>> embedder = BrainMAEEmbedder(emb_size=16, n_heads=2, max_epochs=2, t_r=2.0, random_state=0).fit(runs)
    >>> embedder.transform(runs).shape
    (4, 16)
    """

    _module_class: ClassVar[type[nn.Module]] = LearnedBrainMAE
    _loss_parts: ClassVar[tuple[str, ...]] = ("masked", "unmasked")
    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-brainmae-embedder", 1, "BrainMAE embedder")

    def __init__(
        self, variant: str = "sg", *, segment: float = 15.0, n_segments: int = 20, emb_size: int = 256,
        n_heads: int = 8, depth: int = 3, temporal_depth: int = 2, decoder_depth: int = 1, mlp_ratio: float = 4.0,
        drop_prob: float = 0.1, region_embedding: str = "learned", self_loops: bool = False,
        mask_ratio: Sequence[float] | None = (0.0, 0.8), masked_weight: float = 0.75,
        decoder_token: str = "product", init_std: float | None = None, output: str = "embedding",
        step: float | None = None, standardize: str | None = "run", resample_to: float | None = None,
        on_tr_mismatch: str = "resample", on_missing: str = "raise", on_unknown: str = "raise",
        max_epochs: int = 1000, batch_size: int = 32,
        lr: float = 1e-4, weight_decay: float = 0.05, betas: Sequence[float] = (0.9, 0.95),
        warmup: float | None = None, final_lr: float = 0.0, clip_norm: float | None = 1.0,
        validation: float | None = None, patience: int | None = None, precision: str = "float32",
        checkpoint: Any = None, buffer_bytes: int = BUFFER_BYTES, compile: bool = False, t_r: float | None = None,
        sfreq: float | None = None, ch_names: Any = None, info: Any = None, device: str = "auto",
        random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        super().__init__(
            max_epochs=max_epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, betas=betas, warmup=warmup,
            final_lr=final_lr, clip_norm=clip_norm, validation=validation, patience=patience, precision=precision,
            checkpoint=checkpoint, buffer_bytes=buffer_bytes, compile=compile, sfreq=sfreq, ch_names=ch_names,
            info=info, device=device, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.variant = variant
        self.segment = segment
        self.n_segments = n_segments
        self.emb_size = emb_size
        self.n_heads = n_heads
        self.depth = depth
        self.temporal_depth = temporal_depth
        self.decoder_depth = decoder_depth
        self.mlp_ratio = mlp_ratio
        self.drop_prob = drop_prob
        self.region_embedding = region_embedding
        self.self_loops = self_loops
        self.mask_ratio = mask_ratio
        self.masked_weight = masked_weight
        self.decoder_token = decoder_token
        self.init_std = init_std
        self.output = output
        self.step = step
        self.standardize = standardize
        self.resample_to = resample_to
        self.on_tr_mismatch = on_tr_mismatch
        self.on_missing = on_missing
        self.on_unknown = on_unknown
        self.t_r = t_r

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None, t_r: Any = None) -> Self:
        """Pretrain the network without labels.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), SignalDataset, or list of
                SignalDatasets
            Runs, of one length or of several. Where they are many and read one by one, they stay on disk.
        y : None
            Ignored.
        groups : array of shape (n_runs,), or list of such, optional
            What each run belongs to (a person): runs of one group never both train and validate. Of a `SignalDataset`
            it is the subject, if not given.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where runs differ; else the parameter of that name.

        Returns
        -------
        BrainMAEEmbedder
            Itself.

        Raises
        ------
        InputError
            If the runs cannot be learned from: not finite, shorter than a segment.
        ChannelError
            If regions are missing, or unknown, that must not be.
        UsageError
            If a parameter is wrong, or the repetition time is not known.
        StorageError
            If the checkpoint is of another training.

        Warns
        -----
        UserWarning
            Once, of regions that are constant in some run.
        """
        if self.on_tr_mismatch not in _POLICIES:
            raise UsageError(f"on_tr_mismatch must be 'resample' or 'error', got {self.on_tr_mismatch!r}")
        self._check_output()
        self.__dict__.pop("_config", None)
        given = collections_of(X)
        found = self._runs_to_fit(given, t_r)
        owners = _owners(given, groups, len(given) > 1)
        self._learn(given, [(runs, spec, self.sfreq_) for runs, _, spec in found], owners)
        return self

    def transform(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Give the embedding of each run, the mean of its contextual states; or its states.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        float32 array of shape (n_runs, emb_size)
            Embeddings. With ``output="states"`` what `states` gives: (n_runs, emb_size, n_segments), or a list of
            (emb_size, n_segments) where runs differ in length.
        """
        check_is_fitted(self)
        self._check_output()
        if self.output == "states":
            return self.states(X, t_r, step=self.step)  # type: ignore[return-value]
        return self._over_runs(X, lambda batch: self.module_.embed(batch), t_r)

    def _check_output(self) -> None:
        if self.output not in _OUTPUTS:
            raise UsageError(f"output must be 'embedding' or 'states', got {self.output!r}")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the parts of an embedding.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        array of str
            Names.
        """
        check_is_fitted(self)
        return np.asarray([f"brainmaeembedder{i}" for i in range(self._config["emb_size"])], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # embeddings are float32
        return tags

    # -- what the base asks for ---------------------------------------------------------------------------------------

    def _windows(self, X: Any, spec: SignalSpec | None, sfreq: float | None) -> Windows:
        return Windows(X)

    def _module_config(self, collections: Sequence[Windows]) -> dict[str, Any]:
        return self._network_config(None)

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _storable_params(self) -> dict[str, Any]:
        params = super()._storable_params()
        return params | ({} if self.spec_ is None else {"t_r": None, "sfreq": None})

    def _stored_facts(self) -> dict[str, Any]:
        return {"runs": {name: vars(self)[name] for name in FACTS}}

    @classmethod
    def _restored(cls, config: Mapping[str, Any], arrays: dict[str, np.ndarray], place: Path, **params: Any) -> Self:
        estimator = super()._restored(config, arrays, place, **params)
        try:
            estimator.__dict__.update({name: config["runs"][name] for name in FACTS})
        except (KeyError, TypeError) as error:
            raise StorageError(f"{place / 'config.json'} is damaged or of another version: {error}") from error
        return estimator

    def _card(self, config: Mapping[str, Any]) -> str:
        about = f"{self._config['emb_size']} numbers a run: the mean of its contextual states."
        return brainmae_card(config, about, self._config)

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        return {
            "segment": 1 / 128, "n_segments": 4, "emb_size": 8, "n_heads": 2, "depth": 1, "temporal_depth": 1,
            "drop_prob": 0.0, "standardize": None, "max_epochs": 1, "batch_size": 512, "sfreq": 128.0,
            "random_state": 0, "device": "cpu",
        }  # fmt: skip
