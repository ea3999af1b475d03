"""Lets the site show our `Example:` as code: griffe knows `Examples:` only."""

import re
from typing import Any

import griffe  # pyrefly: ignore[missing-import]


class Examples(griffe.Extension):
    """Renames the section before docstrings are parsed."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Is called for every function, class and module."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.M)
