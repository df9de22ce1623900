"""Optional packages: imported where they are needed, and missing with a cure."""

from importlib import import_module
from typing import Any


class MissingExtraError(ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def require(module: str, extra: str) -> Any:  # Any: an optional package's types may not be there
    """Imports an optional module, so that a base install works without it.

    Args:
        module: The dotted name to import, such as `"torch.nn"`.
        extra: The extra of Tilewise that installs it, such as `"export"`.

    Raises:
        MissingExtraError: If the module, or something it needs itself, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{module} needs the package {error.name!r}, which is not installed: "
            f'pip install "tilewise[{extra}]"',
            name=error.name,
        ) from error
