"""Published states to ours and back."""

import numpy as np
import pytest
import torch

from neurosig.core.errors import InputError, UsageError
from neurosig.nn.state_dicts import Entry, check_state, from_published, read_state, to_published

ENTRIES = [
    Entry("conv.weight", "linear.weight", kernel=3),
    Entry("q", "qkv", part=(0, 2)),
    Entry("k", "qkv", part=(1, 2)),
]


def test_a_convolution_is_a_linear_layer_on_patches():
    weight, x = torch.randn(4, 2, 3), torch.randn(1, 2, 12)
    ours = from_published({"conv.weight": weight}, ENTRIES[:1])["linear.weight"]
    patches = x.unfold(2, 3, 3).permute(0, 2, 3, 1).flatten(2)  # (1, 4 patches, kernel x channels)
    torch.testing.assert_close(patches @ ours.T, torch.nn.functional.conv1d(x, weight, stride=3).mT)


def test_there_and_back():
    published = {"conv.weight": torch.randn(4, 2, 3), "q": torch.randn(2, 5), "k": torch.randn(2, 5)}
    ours = from_published(published, ENTRIES)
    assert torch.equal(ours["qkv"], torch.cat([published["q"], published["k"]]))
    back = to_published(ours, ENTRIES)
    assert sorted(back) == sorted(published)
    assert all(torch.equal(back[name], value) for name, value in published.items())


def test_arrays_tensors_and_wrapped_names():
    found = read_state({"module.a": np.ones(2, dtype=np.float32), "module.b": torch.ones(1)}, "X")
    assert sorted(found) == ["a", "b"]
    source = np.ones(2)
    read_state({"a": source}, "X")["a"][0] = 5
    assert source[0] == 1


def test_only_tensors_are_taken():
    with pytest.raises(InputError, match="weights of X are arrays of numbers, optimizer is dict"):
        read_state({"optimizer": {"lr": 1}}, "X")
    with pytest.raises(UsageError, match="map names to arrays or tensors, got list"):
        read_state([torch.ones(1)], "X")


def test_what_does_not_fit_is_listed():
    given = {"a": torch.ones(2), "b": torch.ones(3), "d": torch.tensor([1.0, float("nan")])}
    expected = {"a": torch.ones(2), "b": torch.ones(4), "c": torch.ones(1), "d": torch.ones(2)}
    with pytest.raises(InputError) as caught:
        check_state({**given, "e": torch.ones(1)}, expected, "X")
    for part in ("not the weights of a X", "missing: c", "left over: e", r"b (3,) instead of (4,)", "not finite: d"):
        assert part in str(caught.value)
    check_state({"a": torch.ones(2)}, {"a": torch.ones(2), "index": torch.ones(1)}, "X", optional=["index"])
