"""Files of TOML: settings, and the spaces of sweeps."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from swingup.errors import InputError


def read_toml(path: Path, flag: str = "--config") -> dict[str, Any]:
    """What a TOML file holds; InputError, which names the flag that gave the file, if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{flag} {path}: no such file; give the path of a TOML file with settings") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{flag} {path}: cannot be read as TOML ({error}); one setting a line, for example: gamma = 0.98"
        ) from error
