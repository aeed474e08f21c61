"""A page of HTML as its reader meets it."""

from html.parser import HTMLParser

VOID = frozenset(("meta", "img", "link", "br", "input", "hr"))
ADDRESSES = frozenset(("src", "href", "srcset", "data", "poster", "action", "xlink:href"))


class Page(HTMLParser):
    """Addresses, pictures and text of a page; fails on tags that are not closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.boxes: list[str] = []  # classes of what is open
        self.unscrolled = 0
        self.text = self.title = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self.addresses += [value for name, value in given.items() if name in ADDRESSES]
        self.unscrolled += tag == "table" and not any("scroll" in box for box in self.boxes)
        if tag not in VOID:
            self.open.append(tag)
            self.boxes.append(given.get("class", ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.boxes.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title":
            self.title += data
        elif self.open and self.open[-1] != "style":
            self.text += data

    def alternatives(self) -> list[str]:
        """Texts of the pictures, which each must have."""
        drawings = [given["aria-label"] for tag, given in self.tags if tag == "svg" and given["role"] == "img"]
        return drawings + [given["alt"] for tag, given in self.tags if tag == "img"]
