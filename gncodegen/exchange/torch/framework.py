"""The package torch, where it is installed."""

from __future__ import annotations

from typing import Any

from gncodegen.errors import NetworkError


def framework(asker: str) -> Any:
    """The package.

    Args:
        asker: the function that needs it, for the message.

    Raises:
        NetworkError: it is not installed.
    """
    try:
        import torch  # noqa: PLC0415  needed by nothing else
    except ImportError as error:
        issue = f"{asker} needs the package torch; allowed: torch 2.6 or newer; pip install 'gncodegen[torch]'"
        raise NetworkError([issue]) from error
    return torch
