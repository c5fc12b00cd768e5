"""`TokenFeatures`: numbers from tokens, for whatever decides by numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import all_estimators, register
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.tokenizers.base import Tokenizer
from neurosig.tokenizers.learning import brings_facts
from neurosig.tokenizers.token_axes import split_codebooks
from neurosig.tokenizers.tokenize import load_tokenizer, tokenizer_digest
from neurosig.training.batches import is_stream
from neurosig.training.trial_data import check_trials, known_spec

__all__ = ["TokenFeatures"]

_KINDS = ("embedding", "histogram", "both")
_POOLS = ("mean", "mean_std", "max", "none")
_TOLD = ("sfreq", "ch_names", "info", "random_state", "verbose")


@register(kind="preprocessor")
class TokenFeatures(TransformerMixin, BaseEstimator):
    """Features of windows from a tokenizer: pooled embeddings, or how often each token occurs.

    Parameters
    ----------
    tokenizer : str, path-like, Tokenizer or None
        Where tokens come from. A name ("TFMTokenizer", "NeuroRVQTokenizer") or a tokenizer that is not fitted: learned
        in `fit`, from the training windows, without labels. A folder that `save_pretrained` wrote (or "owner/name" on
        the Hub), or a fitted tokenizer: used as it is and never fitted, also in clones of this estimator. None is
        "TFMTokenizer".
    tokenizer_params : dict, optional
        Parameters of the tokenizer that is named, or read from a folder (``{"any_channels": True}``).
    kind : {"embedding", "histogram", "both"}
        Embeddings of tokens, pooled over time; or the share of each token among those of the window.
    pool : {"mean", "mean_std", "max", "none"}
        How embeddings are pooled over frames; "none" puts them side by side, for windows of one length.
    per_channel : bool
        Whether each channel gives features of its own; False takes means over channels (histograms: of all channels
        together), which keeps the number of features small.
    min_count : int
        Tokens that occur less often in the training windows get no feature. Tokens that do not occur there never do.
    max_codes : int or None
        Tokens of each codebook, the most frequent ones, that get a feature; None keeps all.
    sfreq : float, optional
        Sampling rate in Hz; read from Epochs where these are given.
    ch_names : list of str, optional
        Channel names, likewise.
    info : SignalSpec or mne.Info, optional
        All that is known about the signals, likewise.
    device : str
        Where the network runs, as in the tokenizer.
    random_state : int, RandomState or None
        Seeds the training of the tokenizer, where that sets none.
    verbose : bool, str or None
        As in mne.

    Attributes
    ----------
    tokenizer_ : Tokenizer
        The tokenizer that is used.
    codes_ : int array of shape (n_histogram_features, 3)
        Of each feature of the histogram: number of the codebook, of the channel (-1 for all), and the token.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    neurosig.tokenizers.TFMTokenizer, neurosig.tokenizers.analysis.token_histogram

    Notes
    -----
    Features are made for a linear probe: scale them (`sklearn.preprocessing.StandardScaler`) and fit a linear model. A
    tokenizer that was pretrained on people who are tested on has seen them, if without labels: say so with the scores.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.tokenizers import TokenFeatures
    >>> X = np.random.default_rng(0).standard_normal((8, 3, 400))
    >>> small = {"n_codes": 16, "emb_size": 16, "max_epochs": 1}
    >>> features = TokenFeatures("TFMTokenizer", tokenizer_params=small, sfreq=200, random_state=0)
    >>> features.fit_transform(X).shape
    (8, 48)
    """

    _channel_order_matters = True  # features of channels stand in their order
    takes_signal_facts = True
    keeps_signal_facts = ()  # what comes out has neither channels nor a rate; nor is the tokenizer told by others

    def __init__(
        self, tokenizer: Any = None, *, tokenizer_params: Mapping[str, Any] | None = None, kind: str = "embedding",
        pool: str = "mean", per_channel: bool = True, min_count: int = 1, max_codes: int | None = 256,
        sfreq: float | None = None, ch_names: Any = None, info: Any = None, device: str = "auto",
        random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        self.tokenizer = tokenizer
        self.tokenizer_params = tokenizer_params
        self.kind = kind
        self.pool = pool
        self.per_channel = per_channel
        self.min_count = min_count
        self.max_codes = max_codes
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def _get_test_params(cls) -> dict[str, Any]:
        from neurosig.tokenizers.tfm import TFMTokenizer

        # not embeddings: the last bit of what a network gives depends on the batch, and scikit-learn asks for the bits
        small = TFMTokenizer._get_test_params()
        return {"tokenizer": "TFMTokenizer", "tokenizer_params": small, "kind": "histogram", "device": "cpu"}

    def __sklearn_clone__(self) -> TokenFeatures:
        """An unfitted copy; a fitted tokenizer goes along as it is, as its clone would have forgotten everything."""
        copied = super().__sklearn_clone__()
        if isinstance(self.tokenizer, Tokenizer) and _is_fitted(self.tokenizer):
            copied.tokenizer = self.tokenizer
        return copied

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> Self:
        """Learn the tokenizer, if it is not pretrained, and which tokens occur.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Training windows.
        y : None
            Ignored.
        groups : array of shape (n,), optional
            Handed to the tokenizer's `fit`.

        Returns
        -------
        TokenFeatures
            Itself.

        Raises
        ------
        UsageError
            If a parameter is wrong.
        InputError
            If the signals cannot be tokenized.
        StorageError
            If a folder cannot be read.
        """
        self._check_options()
        signals = self._checked(X, reset=True)
        tokenizer, ready = self._chosen()
        if not ready:
            tokenizer.fit(signals, groups=groups)
        elif not brings_facts(X) and known_spec(signals, self.info, self.ch_names, self.sfreq)[1] is None:
            raise UsageError(
                "TokenFeatures needs the sampling rate of the signals, which need not be that of the tokenizer's "
                "training: pass sfreq=... (Hz), or mne.Epochs"
            )
        self.tokenizer_ = tokenizer
        if self.kind != "embedding":
            self.codes_ = self._vocabulary(self._told(signals))
        elif hasattr(self, "codes_"):
            del self.codes_
        self._channels = self._channel_names(X)
        some = signals.subset([0]) if isinstance(signals, SignalDataset) else signals[:1]
        self._names = self._feature_names(some)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Give the features of windows.

        Parameters
        ----------
        X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
            Windows.

        Returns
        -------
        float32 array of shape (n, n_features)
            Features.

        Raises
        ------
        InputError
            If windows are of another length, where `pool` is "none"; or cannot be tokenized.
        """
        check_is_fitted(self)
        found = self._features(self._told(self._checked(X, reset=False)))
        if found.shape[1] != len(self._names):
            raise InputError(
                f"expected windows as long as those fitted on, which give {len(self._names)} features, got "
                f"{found.shape[1]}; pool='mean' takes windows of any length"
            )
        return found

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        array of str
            Such as "C3_embedding3_mean" and "C3_token17"; "channel0_token17" where channels have no names.
        """
        check_is_fitted(self)
        return np.asarray(self._names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "tokenizer_") and hasattr(self, "_names")

    def _channel_names(self, X: Any) -> list[str] | None:
        """Names of the channels that have tokens, where they are known."""
        if isinstance(X, SignalDataset):
            spec: SignalSpec | None = X.info
        else:
            spec = known_spec(X, self.info, self.ch_names, None)[0] or self.tokenizer_.spec_
        if spec is None or spec.n_channels != self.n_features_in_:
            return None
        return [spec.ch_names[place] for place in self.tokenizer_._channels_kept(spec.ch_names)]

    def _called(self, channel: int) -> str:
        return f"channel{channel}" if self._channels is None else self._channels[channel]

    # -- the tokenizer ------------------------------------------------------------------------------------------------

    def _chosen(self) -> tuple[Tokenizer, bool]:
        """The tokenizer to use, and whether it is fitted."""
        given = self.tokenizer.estimator if isinstance(self.tokenizer, FrozenEstimator) else self.tokenizer
        params = dict(self.tokenizer_params or {})
        if isinstance(given, Tokenizer):
            if params:
                raise UsageError("tokenizer_params are for a tokenizer that is named; set those of an instance on it")
            if _is_fitted(given):
                return given, True
            if given is not self.tokenizer:
                raise UsageError("the frozen tokenizer is not fitted; fit it first, or hand it over without freezing")
            return self._informed(clone(given)), False
        known = _tokenizers()
        if given is None or (isinstance(given, str) and given in known):
            return self._informed(known[given or "TFMTokenizer"](**params)), False
        if not isinstance(given, str | os.PathLike):
            raise UsageError(
                f"tokenizer must be a name ({', '.join(known)}), a folder or a Tokenizer, got {type(given).__name__}"
            )
        return load_tokenizer(given, **{"device": self.device, **params}), True

    def _informed(self, tokenizer: Tokenizer) -> Tokenizer:
        """With what is known here, where nothing else is set there."""
        own = tokenizer.get_params(deep=False)
        told = {name: getattr(self, name) for name in _TOLD if own.get(name) is None}
        if any(own.get(name) is not None for name in ("info", "ch_names")):
            told = {name: value for name, value in told.items() if name not in ("info", "ch_names", "sfreq")}
        if own["device"] == "auto":
            told["device"] = self.device
        return tokenizer.set_params(**told)

    def _told(self, X: Any) -> Any:
        """Signals with what is known about them, for a tokenizer that was fitted on others."""
        nothing = all(value is None for value in (self.info, self.ch_names, self.sfreq))
        if isinstance(X, SignalDataset) or hasattr(X, "info") or nothing:
            return X
        spec, sfreq = known_spec(X, self.info, self.ch_names, self.sfreq)
        own = self.tokenizer_
        if spec is not None and self.info is None:  # names alone: rate and unit are those fitted on
            unit = "a.u." if own.spec_ is None else own.spec_.unit
            spec = spec.replace(sfreq=spec.sfreq or own.sfreq_, unit=unit)
        if spec is None and sfreq is not None:
            alike = own.sfreq_ is None or abs(sfreq - own.sfreq_) <= 1e-4 * sfreq
            if alike and (hasattr(own, "n_features_in_") or not own.n_windows_):
                return X
            fitted = own.spec_
            if fitted is not None and fitted.n_channels == X.shape[1]:
                spec = fitted.replace(sfreq=sfreq)
            else:
                names = tuple(f"channel {i}" for i in range(int(X.shape[1])))
                spec = SignalSpec("eeg", names, sfreq=sfreq, unit="a.u.")
        if spec is None or spec.sfreq is None:
            return X
        n = int(X.shape[0])
        nobody = pd.DataFrame({name: [""] * n for name in ("subject", "session", "run")})
        return SignalDataset(X, None, nobody, spec)

    def _content_beyond_parameters(self) -> str | None:
        """Digest of a tokenizer that is fitted already, for keys of stored results."""
        given = self.tokenizer.estimator if isinstance(self.tokenizer, FrozenEstimator) else self.tokenizer
        if isinstance(given, Tokenizer):
            return tokenizer_digest(given) if _is_fitted(given) else None
        if given is None or (isinstance(given, str) and given in _tokenizers()):
            return None
        return tokenizer_digest(load_tokenizer(given, device="cpu"))

    # -- features -----------------------------------------------------------------------------------------------------

    def _features(self, X: Any) -> np.ndarray:
        parts = []
        if self.kind != "histogram":
            parts.append(self._embeddings(X)[0])
        if self.kind != "embedding":
            parts.append(self._histogram(X))
        return np.concatenate(parts, axis=1)

    def _embeddings(self, X: Any) -> tuple[np.ndarray, list[str]]:
        found: list[np.ndarray] = []
        names: list[str] = []
        for values in self.tokenizer_._each_batch(X, "embed", np.float32):  # each is pooled before the next is there
            pooled, names = self._pooled(values)
            found.append(pooled)
        return np.concatenate(found), names

    def _pooled(self, values: np.ndarray) -> tuple[np.ndarray, list[str]]:
        axes = self.tokenizer_.embedding_axes
        time = axes.index(self.tokenizer_.token_axes[-1])
        order = [i for i in range(1, values.ndim) if i != time]
        if "channel" in axes:  # channels first
            channel = axes.index("channel")
            order = [channel, *(i for i in order if i != channel)]
        values = values.transpose(0, *order, time)
        names = [axes[i] for i in order]
        if "channel" in axes and not self.per_channel:
            values, names = values.mean(axis=1), names[1:]
        labels = [
            "_".join(
                self._called(i) if name == "channel" else f"{name}{i}" for name, i in zip(names, index, strict=True)
            )
            for index in np.ndindex(values.shape[1:-1])
        ]
        pooled = {
            "mean": lambda: {"mean": values.mean(axis=-1)},
            "mean_std": lambda: {"mean": values.mean(axis=-1), "std": values.std(axis=-1)},
            "max": lambda: {"max": values.max(axis=-1)},
            "none": lambda: {f"frame{i}": values[..., i] for i in range(values.shape[-1])},
        }[self.pool]()
        found = [part.reshape(len(values), -1) for part in pooled.values()]
        return np.concatenate(found, axis=1).astype(np.float32, copy=False), [
            f"{label}_{name}" for name in pooled for label in labels
        ]

    def _codebooks(self, X: Any) -> Iterator[tuple[dict[str, int], np.ndarray]]:
        """Names of codebooks and their tokens, (n, n_channels, n_frames); all channels as one where so chosen."""
        for name, tokens in split_codebooks(self.tokenizer_.transform(X), self.tokenizer_):
            yield name, tokens if self.per_channel else tokens.reshape(len(tokens), 1, -1)

    def _vocabulary(self, X: Any) -> np.ndarray:
        size = self.tokenizer_.vocabulary_size_
        rows = []
        for number, (_, tokens) in enumerate(self._codebooks(X)):
            total = np.bincount(tokens.ravel(), minlength=size)
            often = np.argsort(-total, kind="stable")[: self.max_codes]
            kept = np.zeros(size, bool)
            kept[often[total[often] >= self.min_count]] = True
            for channel in range(tokens.shape[1]):
                seen = np.unique(tokens[:, channel])
                seen = seen[kept[seen]]
                place = np.full(len(seen), channel if self.per_channel else -1)
                rows.append(np.column_stack([np.full(len(seen), number), place, seen]))
        found = np.concatenate(rows).astype(np.int64)
        if not len(found):
            raise InputError(f"no token occurs {self.min_count} times in the training windows; lower min_count")
        return found

    def _histogram(self, X: Any) -> np.ndarray:
        size = self.tokenizer_.vocabulary_size_
        found = None
        for number, (_, tokens) in enumerate(self._codebooks(X)):
            n, n_channels, n_frames = tokens.shape
            if found is None:
                found = np.zeros((n, len(self.codes_)), dtype=np.float32)
            mine = np.flatnonzero(self.codes_[:, 0] == number)
            column = np.full((n_channels, size), -1)
            column[np.maximum(self.codes_[mine, 1], 0), self.codes_[mine, 2]] = mine
            placed = column[np.arange(n_channels)[:, np.newaxis], tokens]
            window, channel, frame = np.nonzero(placed >= 0)
            np.add.at(found, (window, placed[window, channel, frame]), np.float32(1 / n_frames))
        assert found is not None  # for the type checker: there is at least one codebook
        return found

    def _feature_names(self, some: Any) -> list[str]:
        some = self._told(some)
        names = [] if self.kind == "histogram" else self._embeddings(some)[1]
        if self.kind != "embedding":
            books = ["".join(f"{axis}{i}_" for axis, i in name.items()) for name, _ in self._codebooks(some)]
            names += [
                f"{f'{self._called(channel)}_' if channel >= 0 else ''}{books[number]}token{code}"
                for number, channel, code in self.codes_.tolist()
            ]
        return names

    # -- checks -------------------------------------------------------------------------------------------------------

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """Signals of three axes; what brings its own facts keeps them."""
        if isinstance(X, SignalDataset):
            check_trials(self, X.X, reset=reset)
            return X
        signals = check_trials(self, X, reset=reset)
        return X if hasattr(X, "info") or is_stream(X) else signals

    def _check_options(self) -> None:
        for name, choices in (("kind", _KINDS), ("pool", _POOLS)):
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.min_count < 1 or (self.max_codes is not None and self.max_codes < 1):
            raise UsageError(
                f"min_count and max_codes must be at least 1, got {self.min_count!r} and {self.max_codes!r}"
            )


def _tokenizers() -> dict[str, Any]:
    """Classes of tokenizers by name."""
    return {name: cls for name, cls in all_estimators("tokenizer") if issubclass(cls, Tokenizer)}


def _is_fitted(tokenizer: Any) -> bool:
    try:
        check_is_fitted(tokenizer)
    except NotFittedError:
        return False
    return True
