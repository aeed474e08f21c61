"""Names of files and classes, of any bytes and control characters, as screens and text files can take them."""

import re
import unicodedata

ODD = "backslashreplace"
"""How a text is encoded that may hold such names: what has no code is written out, as Python does in its messages."""

# Control characters, what ends a line, turns the direction of text around, or has no code at all.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(name: str) -> str:
    r"""The name as a text that every encoder of Unicode takes.

    >>> printable(os.fsdecode(b"caf\xe9.png"))
    'caf\\udce9.png'
    """
    return name.encode("utf-8", ODD).decode()


def visible(text: str) -> str:
    r"""The text on one line of a screen, where each character is seen and none has an effect.

    >>> visible("cat\n\x1b[2J")
    'cat\\n\\x1b[2J'
    """
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def composed(name: str) -> str:
    r"""The name in Unicode's composed form (NFC). Some systems take letters and their accents apart.

    >>> composed("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)
