"""What can go wrong, as types: each message is one line that says what, where and the fix."""


class InputError(ValueError):
    """Something the user gave is not usable; the command line exits with 2 before any work is done."""


class EnvFault(RuntimeError):
    """An environment broke its contract during a run; nothing of the faulty step reached replay."""


class Diverged(RuntimeError):
    """A gradient or parameter stopped being finite; nothing of that update reached the weights."""
