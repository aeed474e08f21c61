"""Tables show names as they are."""

from rich.console import Console
from rich.text import Text

from fastvit_cli.ui.tables import data_table, facts


def _shown(table: object) -> str:
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_brackets_in_names_are_no_styles() -> None:
    shown = _shown(
        facts([("file", "img [edited].jpg"), ("state", Text("passed", style="green"))], title="a [bold] b")
    )
    assert "img [edited].jpg" in shown
    assert "a [bold] b" in shown
    assert "passed" in shown
    shown = _shown(data_table(("class", "recall"), [("cat [kitten]", "9 %"), ("cat [/adult]", "8 %")], title="[red]"))
    assert "cat [kitten]" in shown
    assert "cat [/adult]" in shown
    assert "[red]" in shown
