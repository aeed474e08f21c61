"""The colours of every page and figure, each for a light and for a dark screen."""

COLORS = {
    "page": ("#f6f7f9", "#0e1218"),
    "card": ("#fffffe", "#171d26"),  # not #ffffff, which matplotlib also writes where nobody asked for a colour
    "line": ("#e2e6ec", "#2a3340"),
    "ink": ("#131a26", "#e8edf4"),
    "quiet": ("#5b6675", "#98a4b4"),
    "blue": ("#2563eb", "#7aa5ff"),
    "blue-light": ("#93b6fb", "#3f62a8"),
    "orange": ("#c2500c", "#fb9a5f"),
    "teal": ("#0d9488", "#2dd4bf"),
    "violet": ("#9333ea", "#c084fc"),
    "pink": ("#db2777", "#f472b6"),
    "ochre": ("#a16207", "#facc15"),
    "cyan": ("#0891b2", "#67e8f9"),
    "olive": ("#65a30d", "#a3e635"),
    "maroon": ("#7f1d1d", "#fca5a5"),
    "navy": ("#1e3a8a", "#a5b4fc"),
    "rose": ("#f472b6", "#fbcfe8"),
    "forest": ("#065f46", "#6ee7b7"),
    "grey": ("#94a3b8", "#7b8798"),
    "red": ("#b91c1c", "#f87171"),
    "green": ("#15803d", "#4ade80"),
    "notice": ("#fff7e0", "#33290f"),
}
# The lines and bars of figures, in their order.
SERIES = ("blue", "orange", "teal", "violet", "pink", "ochre", "cyan", "olive", "maroon", "navy", "rose", "forest")

LIGHT = {name: light for name, (light, _) in COLORS.items()}
"""What figures are drawn with; on a page `variables` takes their place."""


def variables(style: str) -> str:
    """A style of SVG whose colours follow the screen: each of the palette becomes its variable of the stylesheet."""
    for name, light in LIGHT.items():
        style = style.replace(light, f"var(--{name})")
    return style
