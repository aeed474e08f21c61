"""Names of files and classes, which may be odd bytes, as screens and text files can take them."""

import unicodedata

ODD = "backslashreplace"
"""How a text is encoded that may hold such names: what has no code is written out, as Python does in its messages."""


def printable(name: str) -> str:
    r"""The name as a text that every encoder of Unicode takes.

    >>> printable(os.fsdecode(b"caf\xe9.png"))
    'caf\\udce9.png'
    """
    return name.encode("utf-8", ODD).decode()


def composed(name: str) -> str:
    r"""The name in Unicode's composed form (NFC). Some systems take letters and their accents apart.

    >>> composed("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)
