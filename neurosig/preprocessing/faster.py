"""FASTER, fully automated statistical thresholding for EEG artifact rejection, as a scikit-learn transformer.

What is learned (bad channels, independent components, the usual level of each channel) is learned on the training
epochs alone; new epochs are then cleaned one by one, and never dropped without being asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import InputError
from neurosig.core.joined_epochs import joined_epochs
from neurosig.core.registry import register
from neurosig.preprocessing.faster_cells import find_bad_channels_in_epochs
from neurosig.preprocessing.faster_components import find_bad_components
from neurosig.preprocessing.faster_course import STEPS, cleaned_epochs, describe, take_steps
from neurosig.preprocessing.faster_judged import check_judge_in
from neurosig.preprocessing.faster_learned import Learned
from neurosig.preprocessing.faster_metrics import cell_scores
from neurosig.preprocessing.faster_outliers import largest_z
from neurosig.preprocessing.faster_signals import tell_skipped
from neurosig.preprocessing.faster_stages import epoch_scores_by_type, find_bad_channels, find_bad_epochs
from neurosig.preprocessing.faster_subjects import find_outlier_subjects

if TYPE_CHECKING:
    import mne

    from neurosig.core.signals import SignalSpec

__all__ = [
    "FASTER",
    "find_bad_channels",
    "find_bad_channels_in_epochs",
    "find_bad_components",
    "find_bad_epochs",
    "find_outlier_subjects",
]


@register
class FASTER(OneToOneFeatureMixin, TransformerMixin, Learned):
    """Find bad channels, epochs, components and single-epoch channels by their z-scores, and mend them (FASTER).

    Parameters
    ----------
    variant : {"mended", "paper", "mne"}
        The authors' formulas with their and mne-faster's faults mended; the authors' program; mne-faster.
    threshold : float or dict of str to float
        Standard deviations beyond which something is bad: one number, or by metric or step ("default" for the others).
    steps : sequence of {"channels", "epochs", "components", "channels_in_epochs"}
        Steps to take, always in this order.
    metrics : dict of str to sequence of str, optional
        Metrics by step, where they are not the variant's own.
    info : SignalSpec or mne.Info, optional
        Names, types, positions and rate of the channels; read off the epochs where `fit` is given epochs.
    sfreq : float, optional
        Sampling rate in Hz, where there is no `info`. Epochs of another rate are refused.
    ch_names : sequence of str, optional
        Channel names, where there is no `info`; names of the 10-05 system have known positions.
    eog : str, int or sequence of them, optional
        EOG channels, beside those that are so by type. They serve the components and are passed on unchanged.
    eog_proxy : str or sequence of str
        EEG channels that stand in where there is no EOG channel, such as "Fp1", in any spelling.
    reference_position : str, True or None
        One electrode that all channels refer to: its name (a channel, or a site of the 10-05 system), or True for the
        position in the channels' ``loc[3:6]``. The effect of the distance to it is taken out of the scores.
    ica : {"fastica", "infomax", "picard"}
        How components are found. The paper uses Infomax, which is the slowest.
    n_components : int, optional
        Number of components; by default the paper's rule, ``min(sqrt(n_samples / 25), n_channels - n_bad - 1)``.
    interpolation : {"auto", "spline", "mean"} or None
        Bad channels are made of good ones by spherical splines (EEG) or field mapping (MEG), or are the mean of the
        good ones; "auto" takes the first where there are positions, else the second. None leaves them as they are.
    output_reference : {"average"} or None
        Reference of the cleaned EEG channels. The average takes one off the rank of the signals.
    rounds : int, optional
        Rounds of flagging in each step; what is found in one does not count in the next. By default three in
        the first three steps of "mended", else one, as published.
    few : {"warn", "ignore"}
        What to do where there are too few items for the threshold ever to be passed (fewer than 11 for 3), or no rate
        or no EOG channel for a metric.
    random_state : int, RandomState or None
        Seed of the ICA.
    average_first : bool
        Judge channels of single epochs in average reference, as the authors' program does. By default, as in
        `CleaningOptions`, the average serves the components, and they are judged in the reference of the recording.
    judge_in : {"auto", "average", "recorded"}
        Reference in which channels are compared over all epochs (the first step), see `find_bad_channels`: "auto" is
        the average for "mended" with sixteen EEG channels and no `reference_position`, else that of the recording.

    Attributes
    ----------
    bad_channels_ : list of str
        Channels found bad, or marked bad in the epochs that `fit` was given.
    bad_epochs_ : array of int
        Training epochs found bad. They took no part in what was learned after; `transform` does not drop them.
    bad_components_ : array of int
        Components that are taken out.
    bad_channels_in_epochs_ : array of bool of shape (n_epochs, n_channels)
        Channels of single training epochs that are interpolated; False in bad channels and epochs.
    metrics_ : dict
        Scores, z-scores and flags: step, then "scores", "z" or "flags", then metric, to an array.
    report_ : dict
        What was found and done, JSON-like.
    cleaning_, offset_ : array of shape (n_channels, n_channels), (n_channels,)
        What takes the bad components out: signals are multiplied by the first and get the second.
    mixing_, unmixing_ : array of shape (n_channels, n_components), (n_components, n_channels)
        The decomposition on all channels, zero in those that took no part; without columns or rows if the step is left
        out.
    channel_means_ : array of shape (n_channels,)
        Usual level of each channel without the components, from which deviations in single epochs are taken.
    channel_levels_ : dict of str to array of shape (n_channels,)
        What is usual in each channel, metric by metric, to which single epochs are compared ("mended" only).
    usual_epochs_ : dict of str to list of float
        Mean and standard deviation of each metric in the last round of `fit`, by which new epochs are judged.
    epoch_levels_ : array of shape (n_channels,)
        Usual level of each channel with the components, from which deviations of epochs are taken.
    ch_names_, ch_types_, sfreq_ : list of str, list of str, float
        Channels and sampling rate.
    reference_angles_ : array of shape (n_eeg,), or None
        Angles between the EEG channels and the reference electrode, if the scores are corrected for them.
    positions_, meg_info_ : array of shape (n_channels, 3), str
        Positions that EEG is interpolated by, and the description of MEG sensors; None without.
    n_features_in_ : int
        Number of channels.

    Raises
    ------
    UsageError
        If an option is unknown.

    See Also
    --------
    find_bad_channels : The first step alone.
    find_outlier_subjects : The last step of the paper, over subjects.

    Notes
    -----
    `transform` gives back as many epochs as it gets, so that it can stand in a pipeline. Epochs that are outliers by
    the training epochs' standards are told by `epoch_weights` and dropped by `clean`.

    Channels are compared in average reference (`judge_in`), as those near the reference electrode carry little without
    being bad; channels of single epochs are judged in the reference of the recording unless `average_first`; components
    are fitted in the average; the output reference comes last. `neurosig preprocess` takes the same course.

    The paper's fourth step, on by default, harms decoding from covariances: leave it out with ``steps=("channels",
    "epochs", "components")``, as the shipped pipelines do. An interpolated channel is a sum of others, so each trial
    loses a rank in directions of its own, which the tangent space takes for signal (``benchmarks/study_faster.py``).

    The faults that ``variant="mended"`` mends: one constant channel makes mne-faster blind for three of its metrics,
    offsets of opposite sign cancel in its deviation of epochs, and the median of signed differences, in the authors'
    program, is close to zero whatever the signal. Beyond these, blinks do not make frontal channels bad, drifts are
    looked for, and what the worst item hides is found in further rounds (see `find_bad_channels` and
    `find_bad_channels_in_epochs`).

    References
    ----------
    .. [1] Nolan, Whelan & Reilly, "FASTER: Fully Automated Statistical Thresholding for EEG artifact Rejection",
       Journal of Neuroscience Methods 192, 152-162, 2010, https://doi.org/10.1016/j.jneumeth.2010.07.015

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.faster import FASTER
    >>> X = np.random.default_rng(0).standard_normal((40, 16, 200)) * 1e-5
    >>> X[:, 3] *= 8
    >>> faster = FASTER(steps=("channels", "epochs"), sfreq=200.0, interpolation="mean").fit(X)
    >>> faster.bad_channels_
    ['3']
    """

    def __init__(
        self,
        variant: str = "mended",
        threshold: float | Mapping[str, float] = 3.0,
        steps: Sequence[str] = STEPS,
        metrics: Mapping[str, Sequence[str]] | None = None,
        info: SignalSpec | mne.Info | None = None,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        eog: str | int | Sequence[str | int] | None = None,
        eog_proxy: str | Sequence[str] = (),
        reference_position: str | bool | None = None,
        ica: str = "fastica",
        n_components: int | None = None,
        interpolation: str | None = "auto",
        output_reference: str | None = "average",
        rounds: int | None = None,
        few: str = "warn",
        random_state: Any = 0,
        average_first: bool = False,
        judge_in: str = "auto",
    ):
        self.variant = variant
        self.threshold = threshold
        self.steps = steps
        self.metrics = metrics
        self.info = info
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.eog = eog
        self.eog_proxy = eog_proxy
        self.reference_position = reference_position
        self.ica = ica
        self.n_components = n_components
        self.interpolation = interpolation
        self.output_reference = output_reference
        self.rounds = rounds
        self.few = few
        self.random_state = random_state
        self.average_first = average_first
        self.judge_in = judge_in

    @classmethod
    def _get_test_params(cls) -> list[dict[str, Any]]:
        quick = {"interpolation": "mean", "few": "ignore", "sfreq": 128.0}
        cells = {"variant": "mne", "steps": STEPS[:2] + STEPS[3:], "threshold": 1.5, "output_reference": None}
        return [quick, quick | cells]

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn bad channels, components, and the usual level of each channel.

        Parameters
        ----------
        X : mne.Epochs, or array of shape (n_epochs, n_channels, n_times)
            Training signals, any unit. Rows of EOG channels among them. Channels that hold nothing but NaN count as
            bad, as do those that are marked so, in which a part may be NaN.
        y : None
            Ignored.

        Returns
        -------
        FASTER
            Itself.
        """
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            self._fit(X)
        told = [str(warning.message) for warning in said if warning.category is UserWarning]
        for other in (warning for warning in said if warning.category is not UserWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        if told:
            warnings.warn("; ".join(dict.fromkeys(told)), UserWarning, stacklevel=2)
        return self

    def _fit(self, X: Any) -> None:
        rules = self._rules()
        check_judge_in(self.judge_in, self.reference_position)
        signals, _ = self._read(X, reset=True)
        self.ch_names_, self.ch_types_ = list(signals.ch_names), list(signals.ch_types)
        self.sfreq_ = signals.sfreq
        self._keep_geometry(signals)
        self.reference_angles_ = signals.angles(signals.picks(), self.reference_position)
        course = take_steps(
            signals,
            rules,
            reference=self.reference_position,
            average_first=self.average_first,
            decompose={"n_components": self.n_components, "method": self.ica, "random_state": self.random_state},
            eog_proxy=self.eog_proxy,
            judge_in=self.judge_in,
        )
        tell_skipped(course.found.values(), every=self.few == "warn")
        self.bad_channels_ = course.bads
        self.bad_epochs_ = np.setdiff1d(np.arange(len(signals.X)), course.kept)
        self._keep_usual_epochs(course)
        self._keep_components(course)
        self.channel_means_ = np.zeros(len(self.ch_names_))
        self.channel_levels_: dict[str, np.ndarray] = {}
        for metric, values in course.usual.items():
            spread = np.full(len(self.ch_names_), 0.0 if metric == "mean" else 1.0)
            spread[course.good] = values
            if metric == "mean":
                self.channel_means_ = spread
            else:
                self.channel_levels_[metric] = spread
        self.bad_channels_in_epochs_ = np.zeros((len(signals.X), len(self.ch_names_)), dtype=bool)
        self.bad_channels_in_epochs_[course.kept] = course.cells
        self.metrics_ = {
            step: {"scores": dict(found.scores), "z": dict(found.z), "flags": dict(found.flags)}
            for step, found in course.found.items()
        }
        self.report_ = {
            "variant": self.variant,
            "sfreq": self.sfreq_,
            "n_components": int(self.mixing_.shape[1]),
            "interpolation": self.interpolation,
            "output_reference": self.output_reference,
            **describe(course, len(signals.X), len(self.ch_names_)),
        }
        self._tell()

    def transform(self, X: Any) -> np.ndarray:
        """Clean epochs: take components out, interpolate bad channels, re-reference. No epoch is dropped.

        Parameters
        ----------
        X : mne.Epochs, or array of shape (n_epochs, n_channels, n_times)
            Signals with the channels that were fitted. Those that are bad, or hold nothing but NaN, may hold NaN.

        Returns
        -------
        array of the shape of X
            Clean signals; float32 stays float32. What was NaN and could not be interpolated stays NaN.

        Raises
        ------
        ChannelError, InputError
            If epochs have other channels, or another sampling rate, than those that were fitted.
        """
        check_is_fitted(self)
        signals, two_axes = self._read(X, reset=False)
        clean = self._cleaned(signals)
        if self.output_reference == "average":
            self._rereference(clean)
        return clean[..., 0] if two_axes else clean

    def epoch_weights(self, X: Any) -> np.ndarray:
        """Weight of each epoch: 0 for outliers by the standards of the training epochs, 1 for the others.

        Parameters
        ----------
        X : mne.Epochs, or array of shape (n_epochs, n_channels, n_times)
            Signals as they are before cleaning.

        Returns
        -------
        array of shape (n_epochs,)
            The weights, which can serve as ``sample_weight``; all 1 if the step "epochs" is left out, and by metrics
            in which none of so few training epochs could have been an outlier.
        """
        check_is_fitted(self)
        signals, _ = self._read(X, reset=False)
        weights = np.ones(len(signals.X))
        if not self.usual_epochs_:
            return weights
        rule = self._rules()["epochs"]
        good = signals.picks(exclude=self.bad_channels_)
        cells = cell_scores(signals.X, good, {"squares", "amplitude"})
        n_training = len(self.bad_channels_in_epochs_)
        idle = {metric for metric, value in rule.threshold.items() if largest_z(n_training, rule.ddof) <= value}
        if idle and self.few == "warn":
            warnings.warn(
                f"{n_training} training epochs are too few to judge others by {', '.join(sorted(idle))}: none of them "
                "could have been an outlier; fit on more epochs or lower the threshold",
                UserWarning,
                stacklevel=2,
            )
        for name, values in epoch_scores_by_type(signals, good, cells, rule, self.epoch_levels_[good]).items():
            metric = name.split(":")[0]
            mean, spread = self.usual_epochs_[name]
            if spread > 0 and metric not in idle:
                weights[np.abs(values - mean) > rule.threshold[metric] * spread] = 0.0
        return weights

    def clean(self, X: Any, y: Any = None) -> Any:
        """Clean epochs and drop those that are outliers by the standards of the training epochs.

        With `y` this is what imbalanced-learn calls ``fit_resample``, but for the fit: a transformer of scikit-learn
        cannot drop trials in a pipeline, so call it before the decoder, on training trials.

        Parameters
        ----------
        X : mne.Epochs, or array of shape (n_epochs, n_channels, n_times)
            Signals with the channels that were fitted; not changed.
        y : array of shape (n_epochs, ...), optional
            Labels, or anything else that goes with the epochs.

        Returns
        -------
        X : mne.EpochsArray or array
            Clean signals of the epochs that are kept, as epochs where `X` was epochs.
        y : array
            What goes with them; only where `y` was given.

        Raises
        ------
        InputError
            If there are more or fewer labels than epochs.
        ChannelError
            If epochs have other channels than those that were fitted.
        """
        import mne

        X = joined_epochs(X)
        if y is not None and len(y) != len(X):
            raise InputError(f"expected one label for each of {len(X)} epochs, got {len(y)}; give y for these epochs")
        kept = self.epoch_weights(X) > 0
        clean = self.transform(X)
        if isinstance(X, mne.BaseEpochs):
            bads = list(self.bad_channels_) if self.interpolation is None else []
            clean = cleaned_epochs(X, clean, bads, self.output_reference == "average" and "eeg" in self.ch_types_)
            clean.drop(~kept, reason="FASTER", verbose="error")
        else:
            clean = clean[kept]
        return clean if y is None else (clean, np.asarray(y)[kept])

    def bad_channels_in(self, X: Any) -> np.ndarray:
        """Find the channels of single epochs that `transform` interpolates beside the bad channels.

        Parameters
        ----------
        X : mne.Epochs, or array of shape (n_epochs, n_channels, n_times)
            Signals as they are before cleaning.

        Returns
        -------
        array of bool of shape (n_epochs, n_channels)
            The channels.
        """
        check_is_fitted(self)
        signals, _ = self._read(X, reset=False)
        rule = self._rules().get("channels_in_epochs")
        found = np.zeros(signals.X.shape[:2], dtype=bool)
        if rule is not None:
            outliers = self._bad_cells(self._without_components(signals.X), rule)
            found[:, outliers.picks] = outliers.bad
        return found
