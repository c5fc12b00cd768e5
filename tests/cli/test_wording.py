"""Advice written for Python, as it is typed on the command line."""

import pytest

from neurosig.cli.app import _options_of, app
from neurosig.cli.wording import as_typed, speak_to


@pytest.fixture
def options_of():
    """Speak to a command; to none again afterwards."""
    import typer

    yield lambda *words: speak_to(_options_of(typer.main.get_command(app), list(words)))
    speak_to(())


@pytest.mark.parametrize(
    ("command", "message", "typed"),
    [
        ("train", "pass t_r=seconds", "pass --t-r SECONDS"),
        ("train", "milliseconds? Then pass t_r=2.5", "milliseconds? Then pass --t-r 2.5"),
        ("train", "Say orientation='rows_are_regions'", "Say --fmri orientation=rows_are_regions"),
        ("inspect", "Say orientation='rows_are_regions'", "Say --orientation rows_are_regions"),
        ("decode", "allow it (on_sfreq='resample')", "allow it (--resample)"),
        ("decode", "say regions='training'", "say --fmri regions=training"),
        ("benchmark", 'use folds="subject", or add', "use --folds subject, or add"),
        ("benchmark", "at most 4 folds (n_splits), or", "at most 4 folds (--n-splits), or"),
        ("benchmark", "pass confounds=None to clean without", "pass --confounds none to clean without"),
        ("benchmark", "or Atlas.from_mask(...) for single voxels", "or --atlas voxels for single voxels"),
        ("benchmark", "no labels to decode; give SignalDataset(y=...)", "no labels to decode; give --labels COLUMN"),
        ("inspect", "say how much: min_coverage=0.06)", "say how much: --fmri min_coverage=0.06)"),
        # what is no advice, or none that the command can take
        ("inspect", 'use folds="subject"', 'use folds="subject"'),
        ("doctor", "pass t_r=seconds", "pass t_r=seconds"),
        ("train", "in Python load_fmri(t_r=2.0)", "in Python load_fmri(t_r=2.0)"),
        ("train", "in several spaces; choose one by space=", "in several spaces; choose one by --fmri space=..."),
        ("benchmark", "no recordings for task=rest", "no recordings for task=rest"),
        ("benchmark", "no trial from tmin=0 to tmax=9 s", "no trial from tmin=0 to tmax=9 s"),
        ("benchmark", "FunctionalConnectivity takes missing='mean'", "FunctionalConnectivity takes missing='mean'"),
        ("train", "--fmri task=rest", "--fmri task=rest"),
        ("train", "t_r is in seconds", "t_r is in seconds"),
        ("train", "run: t_r=0.8 s is used as you said", "run: t_r=0.8 s is used as you said"),
        ("train", "pass t_r=... (seconds), sfreq=... (Hz)", "pass --t-r SECONDS, sfreq=... (Hz)"),
    ],
)
def test_as_the_command_takes_it(options_of, command, message, typed):
    options_of(command, "somewhere")
    assert as_typed(message) == typed


def test_options_are_those_of_the_command_and_its_group(options_of):
    options_of("pretrain", "brainmae", "people.npz")
    assert as_typed("pass t_r=seconds") == "pass --t-r SECONDS"
    options_of("--debug", "datasets", "list")
    assert as_typed("pass t_r=seconds") == "pass t_r=seconds"
