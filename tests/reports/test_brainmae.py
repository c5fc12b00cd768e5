"""Figures of BrainMAE: what they show is what was found."""

import io

import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.models.brainmae_findings import (
    GraphAttention,
    Reconstruction,
    RepresentationPCA,
    StateAttention,
    region_similarity,
)
from neurosig.reports.brainmae import (
    plot_graph_attention,
    plot_reconstruction,
    plot_region_layout,
    plot_region_similarity,
    plot_representation,
    plot_state_attention,
)

RNG = np.random.default_rng(0)


def drawn(figure):
    """The figure as a file, which shows that it can be drawn."""
    held = io.BytesIO()
    figure.savefig(held, format="svg")
    return held.getvalue().decode()


def similarity(networks):
    E = RNG.standard_normal((len(networks), 4))
    unit = E / np.linalg.norm(E, axis=1, keepdims=True)
    return region_similarity(unit @ unit.T, [f"r{i}" for i in range(len(networks))], networks, 19, 0)


def test_similarity_has_networks_side_by_side():
    found = similarity(["b", "a", None, "b", "a", "b"])
    figure = plot_region_similarity(found)
    ax = figure.axes[0]
    order = [1, 4, 0, 3, 5, 2]
    np.testing.assert_allclose(ax.images[0].get_array(), found.matrix[np.ix_(order, order)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "no network"]
    assert f"within networks {found.within:.2f}, between {found.between:.2f}" in ax.get_title(loc="left")
    assert "<svg" in drawn(figure)


def test_layout_has_a_mark_a_region():
    figure = plot_region_layout(similarity(["a", "a", "b", "b", "b"]))
    lines = figure.axes[0].lines
    assert sorted(len(line.get_xdata()) for line in lines) == [2, 3]
    drawn(figure)


def test_attention_as_matrix_or_in_the_brain():
    weights = RNG.dirichlet(np.ones(7), (2, 3, 7))
    found = GraphAttention(weights, [f"r{i}" for i in range(6)])
    matrix = plot_graph_attention(found)
    np.testing.assert_allclose(matrix.axes[0].images[0].get_array(), weights[:, :, 1:, 1:].mean(axis=(0, 1)))
    drawn(matrix)
    brain = plot_graph_attention(found, RNG.uniform(-0.05, 0.05, (6, 3)), n_edges=3)
    assert len(brain.axes) > 1
    drawn(brain)


def test_states_and_blocks():
    received = np.array([[0.1, 0.3, 0.6], [0.5, 0.5, np.nan]])
    figure = plot_state_attention(StateAttention(received, np.array([0.0, 15.0, 30.0])), [None, "task", "task"])
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [30, 40, 60])
    np.testing.assert_allclose(ax.lines[-1].get_xdata(), [7.5, 22.5, 37.5])
    assert len(ax.patches) == 2
    drawn(figure)
    with pytest.raises(InputError, match="a block for each of 3 segments"):
        plot_state_attention(StateAttention(received, np.arange(3.0)), ["task"])


@pytest.mark.parametrize("y", [None, list("aabbab"), np.linspace(20, 60, 6)])
def test_representations(y):
    scores = RNG.standard_normal((6, 2))
    figure = plot_representation(RepresentationPCA(scores, np.eye(2), np.array([0.7, 0.2])), y)
    ax = figure.axes[0]
    if y is None or isinstance(y, list):
        together = np.vstack([np.column_stack(line.get_data()) for line in ax.lines])
        np.testing.assert_allclose(np.sort(together, axis=0), np.sort(scores, axis=0))
    else:
        np.testing.assert_allclose(ax.collections[0].get_array(), y)
    assert "70 %" in ax.get_xlabel()
    drawn(figure)


def test_representations_need_two_components_and_a_label_a_run():
    pca = RepresentationPCA(np.zeros((3, 1)), np.eye(1), np.ones(1))
    with pytest.raises(InputError, match="two components"):
        plot_representation(pca)
    with pytest.raises(InputError, match="a label for each of 3 runs, got 1"):
        plot_representation(RepresentationPCA(np.zeros((3, 2)), np.eye(2), np.ones(2)), ["a"])


@pytest.mark.parametrize("n", [5, 40])
def test_reconstruction_is_ranked(n):
    masked, unmasked = RNG.uniform(size=(2, n))
    found = Reconstruction(masked, unmasked, 0.4, 0.6, 0.5, [f"r{i}" for i in range(n)])
    figure = plot_reconstruction(found)
    ax = figure.axes[0]
    line = ax.lines[1]
    values = line.get_xdata() if n == 5 else line.get_ydata()
    np.testing.assert_allclose(values, np.sort(masked)[::-1])
    assert "0.40 where hidden, 0.60 where visible (50 % hidden)" in ax.get_title(loc="left")
    drawn(figure)


def test_reconstruction_in_the_brain():
    masked = np.array([0.1, np.nan, 0.4])
    found = Reconstruction(masked, masked, 0.2, 0.3, 0.5, list("abc"), RNG.uniform(-0.05, 0.05, (3, 3)))
    figure = plot_reconstruction(found)
    assert "0.20 where hidden" in drawn(figure)
