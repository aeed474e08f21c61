"""Tables show names as they are."""

import pytest
from rich.console import Console
from rich.text import Text

from fastvit_cli.ui.tables import FirstThatFits, data_table, facts


def _shown(table: object, width: int = 80) -> str:
    console = Console(width=width, no_color=True)
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


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 200])
def test_nothing_of_a_table_is_lost_at_any_width(width: int) -> None:
    columns = ("worst classes", "engine", "images", "recall %", "F1 %")
    rows = [("crane", "onnxruntime", "1,250", "50.0", "100.0"), ("no-end" * 10, "torch", "7", "9.8", "–")]
    shown = _shown(data_table(columns, rows, left=2, title="a title"), width)
    assert max(map(len, shown.splitlines())) <= width
    for words in (*columns, *rows[0], "no-end", *rows[1][1:], "a title"):
        assert words in shown, "neither broken nor cut"
    assert "…" not in shown


def test_columns_come_closer_before_text_is_folded() -> None:
    table = data_table(("model", "engine", "ms"), [("a" * 12, "onnxruntime", "1.00")], left=2)
    for width, row in ((35, f" {'a' * 12}   onnxruntime   1.00 "), (34, f" {'a' * 12}  onnxruntime  1.00 ")):
        assert row in _shown(table, width).splitlines()


def test_the_first_table_that_fits() -> None:
    narrow = data_table(("model", "a"), [("m" * 20, "1.00")])
    wide = data_table(("model", "a", "b"), [("m" * 20, "1.00", "2.00")])
    for width, both in ((34, True), (33, False), (20, False)):
        shown = _shown(FirstThatFits(wide, narrow), width)
        assert "1.00" in shown
        assert ("2.00" in shown) == both
