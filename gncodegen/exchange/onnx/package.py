"""The package onnx, where it is installed."""

from __future__ import annotations

from typing import Any

from gncodegen.errors import NetworkError


def package(asker: str) -> Any:
    """The package, with its checker.

    Args:
        asker: the function that needs it, for the message.

    Raises:
        NetworkError: it is not installed.
    """
    try:
        import onnx  # noqa: PLC0415  needed by nothing else
        import onnx.checker  # noqa: PLC0415  # pyright: ignore[reportUnusedImport]  modules of their own
        import onnx.inliner  # noqa: PLC0415  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        issue = f"{asker} needs the package onnx; allowed: onnx 1.16 or newer; pip install 'gncodegen[onnx]'"
        raise NetworkError([issue]) from error
    return onnx
