"""When a training stops and which epoch's weights it keeps: rules on the history, free of any framework."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["ComparisonRule", "LossRule", "StoppingRule", "make_rule"]


class StoppingRule:
    """A rule that hears of each epoch's validation and says whether it is the best so far, and whether to stop.

    Attributes
    ----------
    best_epoch : int
        Number of the best epoch, from 1; 0 before the first.
    reason : str or None
        Why the training should stop, None to go on.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.best_epoch = 0
        self.reason: str | None = None

    def update(self, loss: float, accuracy: float | None = None) -> bool:
        """Take one epoch's validation loss and accuracy.

        Parameters
        ----------
        loss : float
            Validation loss.
        accuracy : float, optional
            Validation accuracy, where there are classes.

        Returns
        -------
        bool
            Whether this epoch's weights are the best so far.
        """
        self.epoch += 1
        best = self._judge(loss, accuracy)
        if best:
            self.best_epoch = self.epoch
        return best

    def _judge(self, loss: float, accuracy: float | None) -> bool:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that the rule remembers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        vars(self).update(state)


class LossRule(StoppingRule):
    """The lowest validation loss is best; stop after `patience` epochs without a lower one.

    Parameters
    ----------
    patience : int or None
        Epochs; None never stops.
    """

    def __init__(self, patience: int | None = 15):
        super().__init__()
        self.patience = patience
        self.lowest = math.inf

    def _judge(self, loss: float, accuracy: float | None) -> bool:
        best = loss < self.lowest
        if best:
            self.lowest = loss
        elif self.patience is not None and self.epoch - self.best_epoch >= self.patience:
            self.reason = f"no lower validation loss in {self.patience} epochs"
        return best


class ComparisonRule(StoppingRule):
    """The rule by which the comparison of the EEGNet family trained its networks [1]_.

    Until the validation loss has fallen below that of the first epoch, the epoch of the highest validation accuracy is
    best, and the training is given up after more than `give_up` epochs beyond the first. From then on an epoch is best
    if its accuracy is not below the highest kept and its loss below the lowest kept since, and the training stops after
    `patience` epochs without the lowest loss of all.

    Parameters
    ----------
    patience : int or None
        Epochs without a lower validation loss, counted from the epoch that first got below the first; None never stops.
    give_up : int
        Epochs after which a training whose validation loss never got below the first one's is stopped.

    References
    ----------
    .. [1] Köllőd et al., "Deep comparisons of Neural Networks from the EEGNet family", Electronics 12(12):2743, 2023;
       rule as in the authors' repository, kolcs/bionic_apps.
    """

    def __init__(self, patience: int | None = 15, give_up: int = 100):
        super().__init__()
        self.patience = patience
        self.give_up = give_up
        self.first = math.inf
        self.lowest = math.inf  # loss of all epochs since it fell below the first
        self.kept_loss = math.inf  # ... and of those whose weights were kept
        self.kept_accuracy = -math.inf
        self.waited = 0
        self.below = False

    def _judge(self, loss: float, accuracy: float | None) -> bool:
        accuracy = 0.0 if accuracy is None else accuracy
        if self.epoch == 1:
            self.first = loss
        self.below = self.below or loss < self.first
        if self.below:
            self.waited = 0 if loss < self.lowest else self.waited + 1
            self.lowest = min(loss, self.lowest)
            if self.patience is not None and self.waited >= self.patience:
                self.reason = f"no lower validation loss in {self.patience} epochs"
            best = loss < self.kept_loss and accuracy >= self.kept_accuracy
        else:
            if self.epoch - 1 > self.give_up:
                self.reason = f"the validation loss never got below its first value in {self.give_up} epochs"
            best = accuracy > self.kept_accuracy
        if best:
            self.kept_accuracy = accuracy
            self.kept_loss = loss if self.below else math.inf
        return best


def make_rule(stopping: str | None, patience: int | None) -> StoppingRule | None:
    """The rule of a name: None, "loss" or "comparison"."""
    if stopping is None:
        return None
    return LossRule(patience) if stopping == "loss" else ComparisonRule(patience)
