"""The rules of stopping against histories worked out by hand."""

import pytest

from neurosig.training.stopping import ComparisonRule, LossRule, make_rule


def run(rule, losses, accuracies=None):
    """Epochs at which the weights were kept, and the epoch after which the rule stops (None if it does not)."""
    kept = []
    for epoch, loss in enumerate(losses, start=1):
        if rule.update(loss, None if accuracies is None else accuracies[epoch - 1]):
            kept.append(epoch)
        if rule.reason:
            return kept, epoch
    return kept, None


@pytest.mark.parametrize(
    ("losses", "patience", "kept", "stop"),
    [
        ([3, 2, 1], 2, [1, 2, 3], None),
        ([1, 2, 2], 2, [1], 3),
        ([1, 2, 0.5, 3, 3, 0.1], 2, [1, 3], 5),
        ([1, 1, 1], 2, [1], 3),  # equal is no improvement
        ([1, 2, 3, 4, 5, 0], None, [1, 6], None),
    ],
)
def test_loss_rule(losses, patience, kept, stop):
    assert run(LossRule(patience), losses) == (kept, stop)


@pytest.mark.parametrize(
    ("losses", "accuracies", "patience", "give_up", "kept", "stop"),
    [
        # above its first value nothing is counted, and the best accuracy is kept
        ([1, 2, 2, 2, 2], [0.5, 0.4, 0.6, 0.6, 0.7], 2, 100, [1, 3, 5], None),
        # given up: more than give_up epochs after the first without getting below it
        ([1, 2, 2, 2, 2], [0.5] * 5, 2, 3, [1], 5),
        # below: the lowest loss whose accuracy is not less than the best so far
        ([1, 2, 0.9, 0.8, 0.7], [0.5, 0.6, 0.6, 0.5, 0.7], 3, 100, [1, 2, 3, 5], None),
        # epoch 3 is lower but less accurate: not kept, though patience counts from its loss
        ([1, 0.9, 0.8, 0.85, 0.86], [0.5, 0.6, 0.5, 0.9, 0.9], 2, 100, [1, 2, 4], 5),
        # patience begins once the loss has been below
        ([1, 3, 3, 3, 0.9, 1, 1], [0.5] * 7, 2, 100, [1, 5], 7),
    ],
)
def test_comparison_rule(losses, accuracies, patience, give_up, kept, stop):
    assert run(ComparisonRule(patience, give_up), losses, accuracies) == (kept, stop)


def test_a_rule_goes_on_where_it_was():
    losses, accuracies = [1, 2, 0.9, 0.95, 0.8, 0.9, 0.9], [0.5, 0.6, 0.6, 0.7, 0.7, 0.1, 0.1]
    for name in ("loss", "comparison"):
        whole = make_rule(name, 2)
        expected = run(whole, losses, accuracies)
        first, second = make_rule(name, 2), make_rule(name, 2)
        kept, _ = run(first, losses[:3], accuracies[:3])
        second.load_state_dict(first.state_dict())
        rest, stop = run(second, losses[3:], accuracies[3:])
        assert (kept + [epoch + 3 for epoch in rest], stop + 3) == expected
    assert make_rule(None, 2) is None
