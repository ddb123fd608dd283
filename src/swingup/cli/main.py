"""The command line's entry point: runs the command and prints each error as one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from swingup.cli.commands import COMMANDS, run_command
from swingup.errors import Diverged, EnvFault, InputError, nearest
from swingup.storage.checkpoint_reader import Unloadable

USAGE = """swingup: continuous-control policies with DDPG, in JAX

  swingup train ENV      train a policy         swingup train Pendulum-v1
  swingup train --seeds  several seeds          swingup train ENV --seeds 8
  swingup sweep ENV      search settings        swingup sweep ENV --trials 20
  swingup eval RUN       evaluate a run         swingup eval RUN --episodes 100
  swingup resume RUN     go on with a run       swingup resume RUN --steps 20000
  swingup verify RUN     the same bits again?   swingup verify runs/...
  swingup video RUN      film greedy episodes   swingup video RUN --episodes 2
  swingup export RUN     a file that acts       swingup export RUN --format c
  swingup watch RUN      show them in a window  swingup watch runs/...
  swingup report RUN     a page of it           swingup report runs/a runs/b
  swingup card RUN       for Hugging Face's Hub swingup card RUN --push ME/NAME
  swingup compare A B    is B better than A?    swingup compare runs/a runs/b
  swingup presets        list named settings    swingup presets pendulum
  swingup doctor         does it work here?     swingup doctor
  swingup check-env ENV  will a run work on it? swingup check-env my_module:Env
  swingup bench ENV      how fast is it here?   swingup bench HalfCheetah-v5

  swingup COMMAND --help shows the flags of a command.
"""


def main() -> None:
    """The console script."""
    # As `python -m` does: module:Id must find a module in the current folder.
    sys.path.insert(0, os.getcwd())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    if "--json" in sys.argv:  # what libraries print as the process ends is no JSON
        sys.stdout.flush()
        os.dup2(2, 1)
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code.

    0 done, 1 failed, 2 wrong input, 3 no checkpoint is whole, 75 interrupted and resumable, 130 interrupted.
    """
    try:
        return dispatch(list(argv))
    except Unloadable as error:
        print(f"swingup: {line(error)}", file=sys.stderr)
        return 3
    except InputError as error:
        print(f"swingup: {line(error)}", file=sys.stderr)
        return 2
    except (EnvFault, Diverged) as error:
        print(f"swingup: {'; '.join([str(error), *getattr(error, '__notes__', [])])}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"swingup: {'; '.join(['interrupted', *getattr(error, '__notes__', [])])}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"swingup: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 1


def line(error: Exception) -> str:
    """An error's text as one line without control characters, which a file may have put into it."""
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        from swingup import __version__

        print(f"swingup {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        raise InputError(f"{argv[0]}: no such command{nearest(argv[0], COMMANDS) or '; see swingup --help'}")
    return run_command(argv[0], argv[1:])
