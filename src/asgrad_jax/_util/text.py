r"""Users' text (labels, titles, names) on its way to figures, tables and terminals.

One function per target; each returns text that the target shows as it was written,
whatever is in it: `$\frac{$`, `a|b`, line breaks, `\x1b[31m`.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

LONGEST = 120  # characters of a label in a figure or a table
_LONGEST_TITLE = 1000
# What turns the direction of the text that follows.
_DIRECTIONS = {*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def one_line(text: object, *, longest: int = LONGEST) -> str:
    r"""Returns text without line breaks and characters that are not shown.

    White space becomes a blank, control characters what Python writes for them; what is
    longer than `longest` is cut.

    Example:
        >>> one_line("two\nlines"), one_line("\x1b[31mred")
        ('two lines', '\\x1b[31mred')
    """
    shown = visible(re.sub(r"[\s\x1c-\x1f\x85\u2028\u2029]+", _blank, str(text)))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _blank(space: re.Match) -> str:
    """A run of white space: blanks stay as they are, all else is one."""
    return space[0] if set(space[0]) <= {" ", "\N{NO-BREAK SPACE}"} else " "


def visible(text: str) -> str:
    r"""Returns text with control characters, but for line breaks and tabs, spelt out.

    Example:
        >>> visible("a\tb\n\x00")
        'a\tb\n\\x00'
    """
    return "".join(map(_spelt, text)) if not text.isprintable() else text


def _spelt(letter: str) -> str:
    hidden = unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    if (hidden and letter not in "\n\t") or ord(letter) in _DIRECTIONS:
        return letter.encode("unicode_escape").decode()
    return letter


def in_terminal(text: object) -> str:
    r"""Returns text, of several lines too, that a terminal prints and does not obey.

    Example:
        >>> in_terminal("\x1b[2Jgone?\n")
        '\\x1b[2Jgone?\n'
    """
    return visible(str(text))


def in_markdown(text: object) -> str:
    r"""Returns text for a cell of a Markdown table.

    Example:
        >>> in_markdown("a|b\nc <d>")
        'a\\|b c \\<d>'
    """
    return re.sub(r"([\\`|<])", r"\\\1", one_line(text))


def in_latex(text: object) -> str:
    r"""Returns text for LaTeX, which sets it as it is written.

    Example:
        >>> in_latex("5% of a_b")
        '5\\% of a\\_b'
    """
    return re.sub(r"[\\{}$&#_%~^]", lambda found: _IN_LATEX[found[0]], one_line(text))


_IN_LATEX = {
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def in_figure(text: object, *, title: bool = False) -> str:
    r"""Returns text for matplotlib: formulas that it can set, and plain dollars.

    Args:
        text: a label or, with `title`, a title, which may be longer.
        title: see there.

    Example:
        >>> in_figure("5$ a run"), in_figure("$a + b$"), in_figure(r"$\frac{$")
        ('5\\$ a run', '$a + b$', '\\$\\frac{\\$')
    """
    from matplotlib import rcParams

    line = one_line(text, longest=_LONGEST_TITLE if title else LONGEST)
    if rcParams["text.usetex"] and not _is_formula(line):
        return in_latex(line)
    return line if _is_formula(line) else re.sub(r"\\?\$", r"\\$", line)


@functools.lru_cache(maxsize=1024)
def _is_formula(text: str) -> bool:
    """Whether matplotlib can set all formulas of a text."""
    from matplotlib.cbook import is_math_text
    from matplotlib.mathtext import MathTextParser

    if "$" not in text or not is_math_text(text):
        return False
    try:
        MathTextParser("path").parse(text)
    except (ValueError, LookupError, TypeError, RecursionError, RuntimeError):
        return False
    return True


def metric_in_words(name: str) -> str:
    """A metric's name as a sentence says it.

    Example:
        >>> metric_in_words("grad_norm"), metric_in_words("test_accuracy")
        ('gradient norm', 'test accuracy')
    """
    return "gradient norm" if name == "grad_norm" else name.replace("_", " ")


# Classes around a problem, and what a caption says of them beside its name.
_AROUND = {
    "WithMetrics": "",
    "SharedData": ", the same data on all workers",
    "LocalSteps": ", local steps",
}


def problem_in_words(described: Mapping[str, Any]) -> str:
    """A problem's name as a caption says it: that of the one inside, of what is around.

    Args:
        described: as in `sweep_config(result)["problem"]`.

    Example:
        >>> inside = {"class": "LogisticRegression"}
        >>> problem_in_words({"class": "WithMetrics", "problem": inside})
        'logistic regression'
        >>> problem_in_words({"class": "LossProblem", "loss": "log_cosh (code 1a2b)"})
        'loss log_cosh'
    """
    kind, own, _ = described["class"].partition(" (")
    inside, row_loss, loss = (described.get(k) for k in ("problem", "row_loss", "loss"))
    if isinstance(inside, Mapping) and "class" in inside:
        around = _AROUND.get(kind, f", inside {_last(kind)}")
        return f"{problem_in_words(inside)}{around}"
    if isinstance(row_loss, Mapping) and "name" in row_loss:
        return str(row_loss["name"])
    if isinstance(loss, str):
        name = _last(loss.partition(" (")[0])
        public = name.isidentifier() and not name.startswith("_")
        return f"loss {name}" if public else "loss over data"
    if own:  # a user's class is called as they call it
        return _last(kind)
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind).lower()


def _last(name: str) -> str:
    """A name without those of the functions and classes that it stands in."""
    return name.rpartition(".")[2]


def capitalized(text: str) -> str:
    """Text with a capital in front; the rest stays, as `str.capitalize` has it not.

    Example:
        >>> capitalized("huber, local steps of L")
        'Huber, local steps of L'
    """
    return text[:1].upper() + text[1:]
