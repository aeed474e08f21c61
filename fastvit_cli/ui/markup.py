"""Text inside HTML."""

import html

from fastvit_cli.names import visible


def escape(text: str) -> str:
    """The text as HTML shows it, with what cannot be seen written out."""
    return html.escape(visible(text))
