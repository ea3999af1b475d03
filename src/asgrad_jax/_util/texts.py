"""Texts for models of characters; public as functions of `ag.datasets`."""

import numpy as np

from asgrad_jax._util.checks import check_count, check_seed, check_text

_MOST = 10_000_000_000  # characters
_SUBJECTS = "the server,a worker,every client,one device,the slow node,the fast node"
_VERBS = "sends,waits for,adds,reads,keeps,drops,computes,updates"
_OBJECTS = "a gradient,the model,its own rows,the last iterate,an old step,the mean"
_ENDS = "at once,in time,after a while,without delay,again,in order"


def generated_text(num_characters: int, *, seed: int = 0) -> str:
    """English-looking sentences, one a line, by a random choice of their parts.

    For models of characters: 6 x 8 x 6 x 6 sentences in lower case. Nobody wrote them.

    Args:
        num_characters: length of the text.
        seed: of the choices.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> generated_text(30, seed=1)
        'every client sends the model i'
    """
    size = check_count("num_characters", num_characters, maximum=_MOST)
    rng = np.random.default_rng(check_seed(seed))
    parts = [part.split(",") for part in (_SUBJECTS, _VERBS, _OBJECTS, _ENDS)]
    count = size // 10 + 1  # no sentence is shorter
    chosen = [rng.integers(len(part), size=count) for part in parts]
    sentences = (
        " ".join(part[k] for part, k in zip(parts, row, strict=True))
        for row in zip(*chosen, strict=True)
    )
    return ".\n".join(sentences)[:size]


def text_windows(
    text: str, *, context: int, stride: int | None = None
) -> tuple[np.ndarray, str]:
    """Pieces of a text as numbers of characters, for `ag.problems.transformer`.

    Args:
        text: at least `context` + 1 characters.
        context: T, characters that a prediction may read.
        stride: characters from one piece to the next; `context` where it is left out.

    Returns:
        windows: int32 [N, T + 1], in the order of the text: a contiguous split gives
            every worker a part of the text.
        letters: the V different characters; number k is letters[k].

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> windows, letters = text_windows("abcabca", context=3)
        >>> windows.tolist(), letters
        ([[0, 1, 2, 0], [0, 1, 2, 0]], 'abc')
    """
    text = check_text("text", text)
    context = check_count("context", context)
    stride = check_count("stride", context if stride is None else stride)
    if len(text) <= context:
        raise ValueError(
            f"text must have more than context = {context} characters, got {len(text)}"
        )
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    letters, numbers = np.unique(codes, return_inverse=True)
    pieces = np.lib.stride_tricks.sliding_window_view(numbers, context + 1)[::stride]
    return pieces.astype(np.int32), "".join(map(chr, letters))
