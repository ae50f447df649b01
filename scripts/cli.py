"""The program `metamotor`: finds the subcommand, runs it, and tells a user's mistake in one line.

Exit codes: 0, done; 2, a mistake in the input, or more asked for than fits into memory; 130, interrupted by Ctrl-C;
1, a bug of metamotor.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from metamotor.scripts.outputs import no_empty_folders

COMMANDS = {
    "train": "meta-train a policy on a task family",
    "adapt": "adapt a checkpoint to one task by a few episodes, and save the Stable-Baselines3 model",
    "evaluate": "measure adaptation on held-out tasks against everything it must beat",
    "export": "adapt a checkpoint to one task and write the policy to one ONNX file",
    "run": "run an ONNX policy at its control period, in the simulator or on a robot behind UDP",
    "robot": "pretend to be a robot behind UDP, for `run` to drive",
    "log": "show what a robot recorded, and convert it to Minari and back",
    "zoo": "list the checkpoints that come with the package, with their measured scores",
    "demo": "see a robot arm adapt: train, evaluate, draw, export, run",
    "bench": "measure speed, and what is learned for it",
}
"""The subcommands; each is the module of its name in this folder, which is imported only when it is called."""

MISTAKES = (ValueError, TypeError, OSError, FloatingPointError, ImportError)
"""What the package raises when its input is wrong, or asks for something that is not installed. Everything else is its
own mistake."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        argv: the words behind the program's name; None takes those of the process.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts its background jobs deaf to interrupts, and what they start inherits it; but an
        # interrupt is how a training run is told to save and end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or os.environ.get("METAMOTOR_DEBUG", "0") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        if words[1:]:
            return _tell(f"--version takes nothing behind it, got {' '.join(words[1:])}")
        from metamotor import __version__

        print(f"metamotor {__version__}")
        return 0
    if words[0] not in COMMANDS:
        return _tell(f"unknown command {words[0]!r}; there are {', '.join(COMMANDS)}")
    return _guarded(lambda: _command(words[0])(words[1:]), debug)


def usage() -> str:
    """Return the help of the whole program."""
    commands = "\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items())
    return (
        "usage: metamotor [-h] [--version] [--debug] COMMAND ...\n\n"
        "Meta-reinforcement learning for robots that must adapt in seconds.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  -h, --help  show this help; `metamotor COMMAND --help` shows a command's\n"
        "  --version   show the version\n"
        "  --debug     show tracebacks (as METAMOTOR_DEBUG=1 does)"
    )


def _command(name: str) -> Callable[[Sequence[str]], None]:
    command: Callable[[Sequence[str]], None] = importlib.import_module(
        f"metamotor.scripts.{name}"
    ).main
    return no_empty_folders()(command)


def _guarded(action: Callable[[], None], debug: bool) -> int:
    """Return the exit code of an action; print its error in one message, or with its traceback."""
    try:
        action()
    except KeyboardInterrupt:
        print("metamotor: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, MISTAKES):
            return _tell(str(error))
        if isinstance(error, MemoryError):
            told = f" ({error})" if str(error) else ""
            return _tell(f"what was asked for does not fit into this machine's memory{told}")
        name = type(error).__name__
        _tell(f"{name}: {error}. This should not happen; --debug shows where it did")
        return 1
    return 0


def _tell(message: str) -> int:
    lines = (line.strip() for line in message.splitlines())
    print(f"metamotor: error: {' '.join(line for line in lines if line)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
