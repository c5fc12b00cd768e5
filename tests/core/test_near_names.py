"""Names as people type them."""

import pytest

from neurosig.core.near_names import did_you_mean, find_name, near_names

KNOWN = ["EEGNet", "EEGNeX", "MIEEGNet", "ShallowConvNet", "Signal_A", "signal-a"]


@pytest.mark.parametrize(
    ("word", "name"),
    [("EEGNet", "EEGNet"), ("eegnet", "EEGNet"), ("MI-EEGNet", "MIEEGNet"), ("shallow conv_net", "ShallowConvNet"),
     ("EEGNeet", None), ("signal a", None), ("Signal_A", "Signal_A"), ("", None)],
)  # fmt: skip
def test_capitals_and_hyphens_do_not_matter_where_one_name_reads_so(word, name):
    assert find_name(word, KNOWN) == name


def test_near_names_come_best_first_whatever_their_capitals():
    assert near_names("eegnett", KNOWN)[0] == "EEGNet"
    assert near_names("SHALOWCONVNET", KNOWN) == ["ShallowConvNet"]
    assert did_you_mean("SHALOWCONVNET", KNOWN) == "; did you mean ShallowConvNet?"
    assert did_you_mean("quite another", KNOWN) == ""
