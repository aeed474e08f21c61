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
    scores = dict(_score(path) for path in paths)
    names = [subject.name for subject in subjects]
    for model in scores:
        if model not in names:
            raise FastViTError(
                f"--validated has a score of '{model}', which is not timed.",
                f"Leave it out, or time that model too; timed are: {', '.join(names)}.",
            )
    return [
        replace(subject, top1=scores[subject.name], top1_source="measured") if subject.name in scores else subject
        for subject in subjects
    ]


def _score(path: Path) -> tuple[str, float]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["command"] != "validate":
            raise ValueError(f"it is of the command {document['command']}")
        return str(document["result"]["model"]), float(document["result"]["top1"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FastViTError(
            f"'{path}' holds no score ({reason}).", "Write it with: fastvit validate --ckpt FILE --json > scores.json"
        ) from error
