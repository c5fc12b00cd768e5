"""``neurosig networks``: names for pipeline files, and what can be built."""

import json

import pytest

from neurosig.cli.networks import command
from neurosig.core.errors import UsageError
from neurosig.models import net_catalogue, net_module

pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")
FORM = {"channels": "C3, Cz,C4", "sfreq": 100.0, "seconds": 0.9}
LISTED = dict.fromkeys(FORM)


@pytest.fixture
def few(monkeypatch):
    found = {name: net_module.braindecode_models()[name] for name in ("ShallowFBCSPNet", "STEEGFormer")}
    monkeypatch.setattr(net_module, "braindecode_models", lambda: found)


def test_names_are_listed(few, capsys):
    command(build=False, json_=True, **LISTED)
    rows = json.loads(capsys.readouterr().out)["networks"]
    assert {"EEGNet", "LinearNet"} <= {row["name"] for row in rows if row["package"] == "neurosig"}
    assert [row["name"] for row in rows if row["package"] == "braindecode"] == ["STEEGFormer", "ShallowFBCSPNet"]
    assert {row["builds"] for row in rows} == {None}
    command(build=False, json_=False, **LISTED)
    assert "module: NAME" in capsys.readouterr().out


def test_networks_are_tried_for_the_signals_asked_for(few, capsys):
    command(build=True, json_=True, **FORM)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["networks"]}
    assert rows["LinearNet"]["n_parameters"] == 2 * (3 * 90 + 1)
    assert "at least 99 samples, got 90" in rows["ShallowFBCSPNet"]["note"]
    assert rows["STEEGFormer"]["builds"] is None


@pytest.mark.parametrize("wrong", [{"sfreq": 0.0}, {"seconds": -1.0}, {"sfreq": float("nan")}])
def test_forms_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match="must be above 0"):
        command(build=True, json_=True, **{**FORM, **wrong})


@pytest.mark.parametrize("name", FORM)
def test_forms_without_a_trial_are_refused(name):
    with pytest.raises(UsageError, match=f"--{name} says what networks are built for; add --try"):
        command(build=False, json_=False, **{**LISTED, name: FORM[name]})


def test_channels_without_a_place_are_told(capsys, monkeypatch):
    monkeypatch.setattr(net_catalogue, "network_rows", lambda *args, **options: iter(()))
    command(build=True, json_=True, **{**FORM, "channels": "C3,XX,FCZ"})
    told = capsys.readouterr().err
    assert "no position is known for XX (" in told and "FCZ" not in told


def test_lines_of_docstrings_lose_their_markup():
    def summary(line):
        return net_catalogue._summary(type("Net", (), {"__doc__": line}))

    assert summary(r"C\ riss-\ C\ ross **Bra**\ in `Mod`\ el from Wang et al. (2025) [wang]_.") == (
        "Criss-Cross Brain Model from Wang et al. (2025)"
    )
    assert summary("Wrapper around :class:`~a.b.BENDR`  from [x]_, also known as |y|") == (
        "Wrapper around BENDR, also known as y"
    )
