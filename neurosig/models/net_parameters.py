"""Parameters that `NetClassifier` and `NetRegressor` share: spelled, stored and documented once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sklearn.base import BaseEstimator

from neurosig.core.errors import UsageError
from neurosig.core.nested_options import NestedOptions
from neurosig.models.net_module import module_options, resolve_module

__all__ = ["NetParameters"]


class NetParameters(NestedOptions, BaseEstimator):
    """Base of the network estimators: what they are told, and what they all know once they are fitted.

    Parameters
    ----------
    module : str or type
        The network: a class of `torch.nn.Module` with braindecode's signature (``n_chans, n_outputs, n_times, sfreq,
        chs_info, input_window_seconds``, or any of these), or the name of one, ours first, then braindecode's
        (`neurosig.models.list_networks`).
    module_params : dict, optional
        The network's own options. Each is also a parameter of its own name after ``module__``, for ``set_params``,
        searches and ``param_grid``: ``module__F1``.
    max_epochs : int
        Passes over the training trials at most.
    batch_size : int
        Windows in a batch, in training and prediction.
    lr : float
        Learning rate; with "one_cycle" its peak.
    optimizer : str
        Name of an optimizer of `torch.optim`.
    weight_decay : float
        Handed to the optimizer.
    schedule : {None, "cosine", "one_cycle", "plateau", "warmup_cosine", "warmup_linear"}
        Course of the learning rate: constant; half a cosine to zero over `max_epochs`; up and down once, batch by
        batch; a tenth after 5 epochs without a lower validation loss; from zero to `lr` and along half a cosine to
        `final_lr`, batch by batch; from a tenth to `lr` and straight down to a tenth, epoch by epoch.
    warmup : float
        Epochs that the last two schedules rise.
    final_lr : float
        Where "warmup_cosine" ends.
    betas : tuple of float, or None
        Of optimizers of Adam's family; None leaves torch's.
    validation : float or None
        Share of the trials on which the training is judged, drawn by class where there are classes, and by `groups`
        where `fit` is given them: of few groups that one validates which is nearest to the share. A cross-validation's
        own ``groups`` reach `fit` only where they are routed to it: ``params={"groups": groups}``, or
        ``set_fit_request(groups=True)`` with scikit-learn's metadata routing. None trains on all trials, for
        `max_epochs`. Where trials or groups are too few for any share, all are trained on, with a warning.
    patience : int or None
        Epochs without improvement after which the training stops; None trains for `max_epochs`. The weights of the
        best epoch are kept in both cases.
    stopping : {"loss", None}
        What is best: the lowest validation loss. None keeps the last epoch's weights.
    clip_norm : float or None
        Largest norm of the gradient.
    precision : {"float32", "bfloat16", "float16"}
        Type in which products are computed; weights and losses stay float32.
    ema : float or None
        Decay of an exponential moving average of the weights, which then validates and predicts (0.999, say). The decay
        of the n-th step, from 0, is ``min(ema, (1 + n) / (10 + n))``, so that short trainings are averaged over fewer
        steps.
    max_norm : bool
        Whether the network's own constraint (its ``project_()``) is applied after each step.
    scale : "std", float or None
        What signals are divided by: the standard deviation of the trials trained on, one number, so that volts and
        microvolts give the same network up to rounding, which training makes larger; a number; nothing. With
        `pretrained` or `warm_start`, "std" keeps the number of the network before, which its weights go with.
    window, window_step : float or None
        Seconds: trials are cut to windows of this length, so far apart (by default side by side). All windows of a
        trial train or all validate, and in prediction they give one answer together.
    augmentation : list of str or dict, optional
        braindecode's augmentations of training batches (`neurosig.training.augmentation`).
    warm_start : bool
        Whether another ``fit`` goes on from the weights of the one before.
    pretrained : estimator or path-like, optional
        A fitted estimator of this class (wrapped in `sklearn.frozen.FrozenEstimator` where scikit-learn clones this
        one), or the folder of one saved with `save_pretrained` (or its "owner/name" on the Hugging Face Hub, see
        `from_pretrained`), whose weights are where the training starts. Channels, unit, sampling rate and window must
        agree; its scale is kept.
    trainable : {"all", "head"}
        Whether all layers of a pretrained network are trained, or the last one only (batch norm then keeps its
        statistics).
    checkpoint : path-like, optional
        Folder that holds the state after each epoch: a killed training, called again with the same parameters and data,
        goes on there and, on the same kind of device, ends in the same bits. Each training has a folder of its own
        inside, named by its parameters, data and code (neurosig's, torch's, the network's): the folds of a
        cross-validation and the candidates of a search share one. Remove it when all is done.
    buffer_bytes : int
        Bytes of trials on disk (memory maps, Zarr arrays) that are held at once to be shuffled. They are read in pieces
        of an eighth of it, 8 MiB at most (of one chunk of a Zarr array where that takes more), for prediction too. What
        Zarr itself holds while it decompresses comes on top. The order of the batches, and with it the trained network,
        goes by this number, and by the chunks of a Zarr array, where not all trials fit in it; where they do, the order
        is that of trials in memory. Where trials are in memory it has no meaning.
    compile : bool
        Whether the network runs through `torch.compile`.
    sfreq : float, optional
        Sampling rate in Hz; read from Epochs where these are given.
    ch_names : list of str, optional
        Channel names, likewise.
    info : SignalSpec or mne.Info, optional
        All that is known about the signals, likewise.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps"; "accelerate" (the extra ``distributed``) shares the work among the
        processes of ``accelerate launch``.
    random_state : int, RandomState or None
        Seeds all that is drawn; the same number gives the same bits. The global random states are left alone.
    verbose : bool, str or None
        As in mne: at "INFO" a progress bar is shown on terminals and in notebooks. None follows neurosig's log level.

    Attributes
    ----------
    module_ : nn.Module
        The trained network, in evaluation mode.
    history_ : list of dict
        A row an epoch: epoch, train_loss, valid_loss, valid_accuracy (of classes), lr, seconds.
    best_epoch_ : int
        The epoch whose weights are kept, from 1.
    stopped_ : str
        Why the training ended.
    scale_ : float
        What signals are divided by.
    signal_sd_ : float
        Standard deviation of the signals trained on (of 64 trials at most), in their unit; 0 where they are flat.
    n_features_in_, n_times_ : int
        Channels and samples of a trial.
    window_, window_step_ : int or None
        In samples.
    sfreq_ : float or None
        Sampling rate in Hz, where it is known.
    spec_ : SignalSpec or None
        What is known about the signals.
    n_parameters_ : int
        Weights of the network.
    guessing_loss_ : float or None
        Validation loss of the best answer that is the same for every trial; None where nothing validates.
    trained_on_ : dict
        Whom it has seen (`neurosig.core.trained_on`), where that is known.
    seconds_ : float
        Duration of the training.
    seed_ : int
        The seed that was drawn from `random_state`.
    """

    _nested: ClassVar[Mapping[str, str]] = {"module": "module_params"}

    def __init__(
        self,
        module: Any = "EEGNet",
        module_params: dict[str, Any] | None = None,
        *,
        max_epochs: int = 100,
        batch_size: int = 64,
        lr: float = 1e-3,
        optimizer: str = "AdamW",
        weight_decay: float = 0.0,
        schedule: str | None = None,
        warmup: float = 0.0,
        final_lr: float = 0.0,
        betas: Sequence[float] | None = None,
        validation: float | None = 0.2,
        patience: int | None = 15,
        stopping: str | None = "loss",
        clip_norm: float | None = None,
        precision: str = "float32",
        ema: float | None = None,
        max_norm: bool = True,
        scale: Any = "std",
        window: float | None = None,
        window_step: float | None = None,
        augmentation: Any = None,
        warm_start: bool = False,
        pretrained: Any = None,
        trainable: str = "all",
        checkpoint: Any = None,
        buffer_bytes: int = 64 << 20,
        compile: bool = False,
        sfreq: float | None = None,
        ch_names: Any = None,
        info: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.module = module
        self.module_params = module_params
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.final_lr = final_lr
        self.betas = betas
        self.validation = validation
        self.patience = patience
        self.stopping = stopping
        self.clip_norm = clip_norm
        self.precision = precision
        self.ema = ema
        self.max_norm = max_norm
        self.scale = scale
        self.window = window
        self.window_step = window_step
        self.augmentation = augmentation
        self.warm_start = warm_start
        self.pretrained = pretrained
        self.trainable = trainable
        self.checkpoint = checkpoint
        self.buffer_bytes = buffer_bytes
        self.compile = compile
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _known_options(self, holder: str) -> Mapping[str, Any] | None:
        try:
            return module_options(resolve_module(self.module))
        except UsageError:  # said when it is fitted, as scikit-learn has it
            return None
