"""The command line ``neurosig``: its commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from neurosig.cli import (
    benchmark,
    console,
    datasets,
    decode,
    demo,
    doctor,
    inspect,
    networks,
    preprocess,
    pretrain,
    report,
    tokenize,
    train,
    wording,
)
from neurosig.core.errors import NeurosigError

__all__ = ["app", "main"]

STOPPED = 130  # 128 + SIGINT, what a shell expects of a program that Ctrl-C ended
CLOSED_PIPE = 1  # what typer and Python exit with when the reader went away (`neurosig ... | head`)
_ANYWHERE = ("--debug", "--verbose", "-v")
_RESUMING = ("benchmark", "demo", "preprocess", "pretrain", "tokenize")
# of a user's day
_ORDER = (
    "demo", "datasets", "inspect", "preprocess", "benchmark", "networks", "pretrain", "tokenize", "train", "decode",
    "report", "doctor",
)  # fmt: skip


class _Commands(TyperGroup):
    """The commands in the order of a user's day, also where one of them is a group of its own."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in _ORDER if name in self.commands]


app = typer.Typer(
    name="neurosig",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command explains itself: neurosig COMMAND --help. "
    "Exit codes: 0 done, 1 failed, 2 wrong use, 130 stopped.",
)
app.command("demo")(demo.command)
app.add_typer(datasets.app, name="datasets")
app.command("inspect")(inspect.command)
app.command("preprocess")(preprocess.command)
app.command("benchmark")(benchmark.command)
app.command("networks")(networks.command)
app.command("pretrain")(pretrain.command)
app.command("tokenize")(tokenize.command)
app.command("train")(train.command)
app.command("decode")(decode.command)
app.command("report")(report.command)
app.command("doctor")(doctor.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        from neurosig._version import __version__

        typer.echo(f"neurosig {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more, and show other packages' warnings.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Recordings of the brain in, decisions that can be trusted out.

    Start with: neurosig demo
    """
    _set_up_messages(verbose)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; those of the process by default. ``--debug`` and ``--verbose`` may stand anywhere before ``--``.
    """
    arguments = _options_first(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments[: len(_ANYWHERE)]
    json = "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)
    console.answered.clear()
    try:
        command = typer.main.get_command(app)
        wording.speak_to(_options_of(command, arguments))
        code = command.main(args=arguments, prog_name="neurosig", standalone_mode=False)
        sys.stdout.flush()
        code = code if isinstance(code, int) else 0
        if code == STOPPED:
            code = _fail(STOPPED, _stopped(arguments), json=json)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail(STOPPED, _stopped(arguments), debug, json)
    except Exception as error:
        code = _explain(error, debug, json)
    _leave(code)


def _options_of(command: Any, arguments: list[str]) -> set[str]:
    """The options of the command that is called."""
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    return {option for parameter in command.params for option in parameter.opts}


def _stopped(arguments: list[str]) -> str:
    """What to say after Ctrl-C: only some commands keep what they had finished."""
    words = [word for word in arguments if word not in _ANYWHERE]
    resumes = (words[:1] and words[0] in _RESUMING) or words[:2] == ["datasets", "fetch"]
    return f"stopped; run the same command again to {'resume' if resumes else 'start over'}"


def _explain(error: Exception, debug: bool, json: bool) -> int:
    """Turn an error into one line on standard error, a JSON object where one is waited for, and an exit code."""
    if isinstance(error, NeurosigError):
        return _fail(error.exit_code, f"error: {wording.as_typed(str(error))}", debug, json)
    if hasattr(error, "format_message"):  # typer's usage errors
        return _wrong_use(error, debug, json)
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    if isinstance(error, OSError) and error.errno in _STORAGE:
        place = f" ({error.filename})" if error.filename else ""
        return _fail(1, f"error: {_STORAGE[error.errno]}{place}", debug, json)
    if isinstance(error, MemoryError):
        told = "error: not enough memory; use fewer subjects, a lower rate (--resample) or fewer jobs"
        return _fail(1, told, debug, json)
    advice = "this is a defect of neurosig" + ("" if debug else "; rerun with --debug for the traceback")
    return _fail(1, f"internal error: {type(error).__name__}: {error} ({advice})", debug, json)


_STORAGE = {
    errno.ENOSPC: "the disk is full; free space or write to another folder",
    errno.EDQUOT: "the disk quota is used up; free space or write to another folder",
    errno.EACCES: "no permission to read or write there; choose another folder or ask its owner",
    errno.EPERM: "no permission to read or write there; choose another folder or ask its owner",
    errno.EROFS: "the file system is read-only; write to another folder",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) or use fewer jobs",
}


def _wrong_use(error: Any, debug: bool, json: bool) -> int:
    message = str(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    if not message:  # called without arguments: typer raises the help text itself
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.ctx.get_help())
        return 2
    where = f" (see: {context.command_path} --help)" if context is not None else ""
    return _fail(error.exit_code, f"error: {message}{where}", debug, json)


def _fail(code: int, line: str, debug: bool = False, json: bool = False) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    line = " ".join(line.split())
    _say(line)
    if json and not console.answered:
        with contextlib.suppress(OSError):  # a pipe whose reader went away
            console.emit_json({"error": line.removeprefix("error: "), "exit_code": code})
    return code


def _say(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens on standard error either


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        # the reader is gone: without this the interpreter complains again while it shuts down
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or CLOSED_PIPE
    sys.exit(code)


def _options_first(arguments: list[str]) -> list[str]:
    """Move the options that may stand anywhere before the command, where typer looks for them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head, tail = arguments[:end], arguments[end:]
    found = [name for name in dict.fromkeys(head) if name in _ANYWHERE]
    return [*found, *(name for name in head if name not in _ANYWHERE), *tail]


def _set_up_messages(verbose: bool) -> None:
    """Show our own warnings as one line each; those of other packages only when asked."""
    import logging

    from neurosig.core.log import set_log_level

    set_log_level(verbose)
    if verbose:
        os.environ.setdefault("MNE_LOGGING_LEVEL", "INFO")
        return
    os.environ.setdefault("MNE_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for worker processes
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints other packages' log records itself

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        if _raised_by_us():
            console.warn(str(message))

    warnings.simplefilter("default")
    warnings.showwarning = show  # type: ignore[assignment]


def _raised_by_us() -> bool:
    """Whether the code that called ``warnings.warn`` is neurosig's; the stated file may be anybody's (stacklevel)."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "warnings":
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and frame.f_globals.get("__name__", "").startswith("neurosig.")
