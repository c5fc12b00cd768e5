"""Errors that neurosig raises on purpose.

Every message is one line that says what was expected, what came, and what to do. The command line prints the line and
exits with `exit_code`; anything else that escapes is a defect of ours and is reported as such.
"""


class NeurosigError(Exception):
    """Base of all errors that neurosig raises on purpose.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 1, or 2 where the call itself was wrong.
    """

    exit_code = 1


class UsageError(NeurosigError, ValueError):
    """The call is wrong: an unknown option value, a missing name, arguments that exclude each other."""

    exit_code = 2


class InputError(NeurosigError, ValueError):
    """The data cannot be used as they are: a broken file, no events, NaN, implausible units."""


class NoEventsError(InputError):
    """A recording has no events, or none of those asked for: among others, it may be passed over."""


class ChannelError(InputError):
    """Channel names, order, unit, rate or window of the data do not fit what a fitted object was trained on."""


class ManifestError(InputError):
    """A dataset manifest or a pipeline file is malformed or unsafe."""


class ChecksumError(InputError):
    """A file's content is not the one its manifest promises."""


class DownloadError(NeurosigError, OSError):
    """A file could not be fetched: offline, interrupted, or refused by the server."""


class LeakageError(InputError):
    """A split would let test data into training."""


class StorageError(NeurosigError, OSError):
    """Something could not be written or read back: full disk, no permission, a damaged store."""


class ExportError(NeurosigError, RuntimeError):
    """A network could not be turned into a program of another form, or that program computes something else."""


class UnitWarning(UserWarning):
    """Signals are of another size than expected, as if their unit were another."""
