"""Accuracies that `fastvit validate` measured, to stand beside the latency of the same model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fastvit_cli.bench.subjects import Subject
from fastvit_cli.errors import FastViTError


def with_scores(subjects: Sequence[Subject], paths: Sequence[Path]) -> list[Subject]:
    """The subjects, each with the top-1 of the file that names its model.

    Raises:
        FastViTError: a file that `validate --json` did not print, or one of a model that is not timed.
    """
    scores = {model: (top1, data) for model, top1, data in map(_score, paths)}
    names = [subject.name for subject in subjects]
    for model in scores:
        if model not in names:
            raise FastViTError(
                f"--validated has a score of '{model}', which is not timed.",
                f"Leave it out, or time that model too; timed are: {', '.join(names)}.",
            )
    out = []
    for subject in subjects:
        top1, data = scores.get(subject.name, (None, None))
        measured = replace(subject, top1=top1, top1_source="measured", top1_data=data)
        out.append(subject if top1 is None else measured)
    return out


def _score(path: Path) -> tuple[str, float, str | None]:
    """Model, top-1, and the data set, with its split where that is not val: training measures on val."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["command"] != "validate":
            raise ValueError(f"it is of the command {document['command']}")
        result = document["result"]
        data, split = result.get("data"), result.get("split", "val")
        if data is not None and split != "val":
            data = f"{data} ({split})"
        return str(result["model"]), float(result["top1"]), data
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FastViTError(
            f"'{path}' holds no score ({reason}).", "Write it with: fastvit validate --ckpt FILE --json > scores.json"
        ) from error
