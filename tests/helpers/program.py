"""Running the program in this process, as its user sees it."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from fastvit_cli.app import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = self.document["result"]
        return found

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = self.document["error"]
        return found


def run(capsys: pytest.CaptureFixture[str], *words: object) -> Outcome:
    """`fastvit <words>` without a terminal."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)
