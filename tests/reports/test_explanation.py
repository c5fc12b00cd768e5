"""The figure of an explanation shows its sums, on a head where the places of channels are known."""

import numpy as np
import pytest

from neurosig.core.errors import UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models.explanation import Explanation
from neurosig.reports.drawing import COLOURS
from neurosig.reports.explanation import plot_explanation

NAMES = ("Fp1", "Fp2", "C3", "Cz", "C4", "Pz", "O1", "O2")
EEG = SignalSpec("eeg", NAMES, sfreq=100.0, tmin=-0.5)


@pytest.fixture
def make():
    def make(spec=EEG, n_times=130, **fields):
        rng = np.random.default_rng(0)
        attributions = rng.standard_normal((12, 8, n_times)) / n_times
        labels = np.array(["left", "right", "rest"])[np.arange(12) % 3]
        outputs = attributions.sum(axis=(1, 2))
        given = {"targets": labels, "predicted": np.roll(labels, 1), "labels": labels, **fields}
        return Explanation(attributions, "integrated_gradients", outputs=outputs, baseline_outputs=0 * outputs,
                           info=spec, **given)  # fmt: skip

    return make


def texts(figure):
    found = [text.get_text() for ax in figure.axes for text in (ax.title, ax._left_title, ax.xaxis.label)]
    return " ".join([*found, figure._supxlabel.get_text() if figure._supxlabel else ""])


def panels(figure, n_rows):
    """The pairs of axes, in rows; a colour bar comes after them."""
    return np.array(figure.axes[: 2 * n_rows]).reshape(n_rows, 2)


def test_a_row_for_each_class_with_its_sums(make):
    explanation = make()
    figure = plot_explanation(explanation)
    rows = panels(figure, 3)
    for name, (left, right) in zip(["left", "rest", "right"], rows, strict=True):
        assert right.get_title(loc="left") == f"{name}  (n = 4)"
        assert left.get_title(loc="left") == "n = 4, single trials"
        bars = np.array([patch.get_height() for patch in right.patches])
        mean = explanation.attributions[explanation.targets == name].mean(axis=0)
        assert len(bars) == 40
        np.testing.assert_allclose(bars.sum(), mean.sum(), atol=1e-12)
        np.testing.assert_allclose(bars[0], mean[:, :3].sum(), atol=1e-12)
        np.testing.assert_allclose(right.get_xlim(), (-0.5, 0.8))
        assert left.images and left.images[0].get_array().shape == (96, 96)
        limits = left.images[0].get_clim()
        assert limits[0] == -limits[1] == rows[0, 0].images[0].get_clim()[0]
    assert "No map" not in texts(figure) and "Logit per channel" in texts(figure) and "Time (s)" in texts(figure)
    largest = max(np.abs(explanation.channel_contributions[explanation.targets == n].mean(axis=0)).max() for n in
                  ("left", "right", "rest"))  # fmt: skip
    assert limits[1] == pytest.approx(largest)


def test_the_map_has_its_peak_at_the_channel(make):
    attributions = np.zeros((2, 8, 10))
    attributions[:, NAMES.index("C4")] = 0.1
    total = attributions.sum(axis=(1, 2))
    explanation = Explanation(attributions, "occlusion", np.array(["x", "x"]), np.array(["x", "x"]), total, 0 * total,
                              info=EEG)  # fmt: skip
    image = plot_explanation(explanation).axes[0].images[0]
    values = np.ma.filled(image.get_array(), -np.inf)
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert column > 55 and 35 < row < 60  # right of the middle; half way up


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (None, "No map: the channels have no names."),
        (EEG.replace(ch_names=(*NAMES[:-1], "Pulse"), ch_types=()), "No map: no position is known for Pulse."),
        (EEG.replace(ch_names=tuple(f"EEG X{i}" for i in range(8))), "no position is known for"),
        (EEG.replace(montage="nowhere"), "'nowhere' is no montage of mne"),
        (EEG.replace(modality="seeg", ch_types=("seeg",) * 8), "seeg channels do not lie on the head"),
        (EEG.replace(modality="meg", ch_types=("mag",) * 8), "sensor positions are not known"),
        (EEG.replace(modality="meg", ch_types=("mag", "grad") * 4), "several types (grad, mag)"),
        (EEG.replace(positions=[(0.0, 0.1, 0.1)] * 8), "several channels lie at one place"),
    ],
)
def test_without_places_there_are_bars_and_the_reason(make, spec, reason):
    explanation = make(spec)
    figure = plot_explanation(explanation)
    assert reason in texts(figure).replace("\n", " ")
    left = panels(figure, 3)[0, 0]
    contributions = explanation.channel_contributions[explanation.targets == "left"].mean(axis=0)
    order = np.argsort(-np.abs(contributions), kind="stable")
    np.testing.assert_allclose([patch.get_width() for patch in left.patches], contributions[order])
    assert [tick.get_text() for tick in left.get_yticklabels()] == [explanation.ch_names[i][:10] for i in order]
    assert len(figure.axes) == 6  # no colour bar


def test_positions_of_the_signals_are_used(make):
    rng = np.random.default_rng(0)
    places = rng.standard_normal((8, 3))
    places = 0.09 * places / np.linalg.norm(places, axis=1, keepdims=True)
    places[:, 2] = np.abs(places[:, 2])
    spec = EEG.replace(ch_names=tuple(f"E{i}" for i in range(8)), positions=places)
    assert "No map" not in texts(plot_explanation(make(spec)))


def test_colours_tell_the_sign(make):
    from matplotlib.colors import to_hex

    for patch in plot_explanation(make()).axes[1].patches:
        expected = "score" if patch.get_height() >= 0 else "against"
        assert to_hex(patch.get_facecolor()) == COLOURS[expected]


def test_correct_trials_only(make):
    labels = np.array(["left", "right", "rest"])[np.arange(12) % 3]
    predicted = labels.copy()
    predicted[:9] = "left"
    figure = plot_explanation(make(predicted=predicted), only_correct=True)
    shown = [ax.get_title(loc="left") for ax in panels(figure, 3)[:, 1]]
    assert shown == ["left  (n = 4)", "rest  (n = 1)", "right  (n = 1)"]
    shown = [ax.get_title(loc="left") for ax in panels(figure, 3)[:, 0]]
    assert shown == ["n = 4, single trials", "n = 1, single trial", "n = 1, single trial"]
    with pytest.raises(UsageError, match="give y to explain"):
        plot_explanation(make(labels=None), only_correct=True)
    with pytest.raises(UsageError, match="no trial was decoded correctly"):
        plot_explanation(make(), only_correct=True)


@pytest.mark.parametrize("spec", [EEG, None])
@pytest.mark.parametrize("n_classes", [0, 1, 3])  # none: a regression
def test_colours_and_numbers_are_explained_and_nothing_is_cut_off(make, spec, n_classes):
    names = np.array(["feet, both, up or down", "hand of the right side", "tongue to the left side"])
    targets = names[np.arange(12) % n_classes] if n_classes else np.zeros(12, int)
    n_rows = max(n_classes, 1)
    parameters = {"regression": not n_classes}
    figure = plot_explanation(make(spec, parameters=parameters, predicted=targets, labels=None, targets=targets))
    shown = texts(figure)
    assert ("blue (+): for the class" if n_classes else "blue (+): raises the output") in shown
    titles = [ax.get_title(loc="left") for ax in panels(figure, n_rows).ravel()]
    assert all(f"n = {12 // n_rows}" in title for title in titles)
    assert ("single trials" in shown) == (n_rows == 3)
    figure.draw_without_rendering()
    drawn, page = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= page[0] and drawn.y1 <= page[1]
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_short_silent_and_numbered_ones_are_drawn(make):
    figure = plot_explanation(make(n_times=1))
    assert len(panels(figure, 3)[0, 1].patches) == 1
    fields = {"targets": np.zeros(12, int), "predicted": np.zeros(12), "labels": None}
    figure = plot_explanation(make(spec=EEG.replace(sfreq=None), parameters={"regression": True}, **fields))
    assert "output  (n = 12)" in texts(figure) and "Sample; contribution per" in texts(figure)
    silent = Explanation(np.zeros((2, 8, 9)), "occlusion", np.array([1, 2]), np.array([1, 2]), np.zeros(2), np.zeros(2),
                         info=EEG)  # fmt: skip
    figure = plot_explanation(silent)
    figure.canvas.draw()


@pytest.mark.parametrize("spec", [EEG, None])
@pytest.mark.parametrize("by", ["channel", "time", "channel_time"])
def test_what_occlusion_does_not_tell_apart_is_not_drawn(spec, by):
    attributions = np.random.default_rng(0).standard_normal((6, 8, 40))
    if by == "channel":
        attributions[:] = attributions[:, :, :1]
    elif by == "time":
        attributions[:] = attributions[:, :1]
    targets = np.array(["left", "right"] * 3)
    figure = plot_explanation(
        Explanation(attributions, "occlusion", targets, targets, np.zeros(6), np.zeros(6), info=spec,
                    parameters={"by": by, "output": "logit"})
    )  # fmt: skip
    drawn = figure.axes if spec is None or by == "time" else figure.axes[:-1]  # the colour bar is the last
    assert len(drawn) == (4 if by == "channel_time" else 2)
    shown = texts(figure).replace("\n", " ")
    assert ("logit per" in shown) == (by != "channel") and ("Logit per channel" in shown) == (by != "time")
    assert ("No map" in shown) == (spec is None and by != "time")
    assert "blue (+): for the class" in shown and "left  (n = 3" in shown and "single trials" in shown
    said = figure._suptitle.get_text()
    assert ("of channels" in said, "of moments" in said) == (by == "channel", by == "time")
    figure.draw_without_rendering()
