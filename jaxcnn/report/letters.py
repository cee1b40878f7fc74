"""Text in pictures: names of classes and files, which may hold any letters.

All text of others that is drawn passes here: what cannot be seen is escaped, nothing is
taken for mathematics, and fonts are chosen that have the letters.
"""

from collections.abc import Iterator, Sequence
import contextlib
import functools

import matplotlib
from matplotlib import font_manager, ft2font
from PIL import ImageFont

from jaxcnn.errors import printable

_DEFAULT = "DejaVu Sans"  # comes with matplotlib and covers many scripts
_LONGEST = 40  # letters of a label on an axis


@functools.cache
def _fonts() -> dict[str, str]:
    """The installed upright fonts of normal weight -> their files."""
    return {
        font.name: font.fname
        for font in sorted(font_manager.fontManager.ttflist, key=lambda f: f.fname)
        if font.style == "normal"
        and font.weight in (400, "normal", "regular")
        and "Last Resort" not in font.name  # it has a box for every letter
    }


@functools.cache
def _letters(family: str) -> frozenset[int]:
    """The letters that a font has."""
    try:
        return frozenset(ft2font.FT2Font(_fonts()[family]).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType cannot read has none
        return frozenset()


def _missing(text: str, family: str) -> set[int]:
    return {ord(letter) for letter in text} - _letters(family)


def _families(text: str) -> tuple[list[str], set[int]]:
    """(fonts that together have the letters of a text, letters that none has)."""
    families, missing = [_DEFAULT], _missing(text, _DEFAULT)
    while missing:
        best = max(sorted(_fonts()), key=lambda name: len(missing & _letters(name)))
        if not missing & _letters(best):
            break
        families.append(best)
        missing = missing - _letters(best)
    return families, missing


def drawable(text: str) -> str:
    """A text in which what cannot be seen, or what no installed font has, is escaped
    as Python does, such as \\u65e5."""
    text = printable(text)
    _, missing = _families(text)
    return "".join(
        letter.encode("unicode_escape").decode() if ord(letter) in missing else letter
        for letter in text
    )


def labels(names: Sequence[str]) -> list[str]:
    """The names as labels of an axis; "#3" for the third where it is too long or no
    installed font has its letters."""
    return [
        name if name == drawable(name) and len(name) <= _LONGEST else f"#{number}"
        for number, name in enumerate(map(printable, names), start=1)
    ]


def key(names: Sequence[str]) -> str:
    """Which names the labels stand for that are numbers; empty if none is."""
    numbered = [
        f"{label} {printable(name)}"
        for label, name in zip(labels(names), names, strict=True)
        if label != printable(name)
    ]
    return f"In the picture: {', '.join(numbered)}" if numbered else ""


@contextlib.contextmanager
def drawing(texts: Sequence[str]) -> Iterator[None]:
    """A context in which matplotlib draws these texts as they are: no $ begins a
    formula, and each letter is taken from a font that has it.

    Figures must be made and saved within.
    """
    families, _ = _families("".join(texts))
    settings = {
        "font.family": families,
        "text.parse_math": False,
        "text.usetex": False,
    }
    with matplotlib.rc_context(settings):
        yield


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """A font for Pillow, which takes one only, that has most letters of a text."""
    families, _ = _families(text)
    best = min(families, key=lambda name: len(_missing(text, name)))
    return ImageFont.truetype(_fonts()[best], size)
