"""``topomap errors``: pairs of classes whose labels seem to have been swapped in training."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from topomap._check import unknown

if TYPE_CHECKING:
    from topomap.bias import LabelError
    from topomap.run import Activations, Inputs

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

#: What the pairs can be written as, and how many inputs of a pair are printed.
TABLES, MOST = (".csv", ".json"), 5

EXAMPLES = """Examples:
  topomap errors runs/a --layer layer3
  topomap errors runs/a --layer layer3 --min-size 2
  topomap errors runs/a --layer layer3 --min-size 10 --n 20 --to swapped.csv swapped.json

The labels recorded with the inputs are taken as clean: what is looked for are errors in the labels that the
model learnt from."""


def errors(
    run: Path,
    *,
    layer: str | None = None,
    reduce: str | None = None,
    min_size: int = 5,
    n: int = 10,
    to: Annotated[list[Path] | None, Several] = None,
) -> None:
    """Rank pairs of classes by how much says that their labels were swapped in training.

    A model that learnt a wrong label calls inputs of one class another, surely, while its layer still places them among
    their own kind.

    Parameters
    ----------
    run
        A run folder with labels and predictions.
    layer
        The layer; may be left out where only one was recorded. One of the last before the output, as a rule.
    reduce
        The reduction, where the layer was recorded under several.
    min_size
        Pairs of fewer inputs are not judged; lower it for a model that makes few mistakes.
    n
        Print and write at most so many pairs.
    to
        Files to write: .csv with one row per input of a pair, .json with the pairs.
    """
    from topomap.bias import find_label_errors
    from topomap.cli.show import table
    from topomap.cli.stored import pick
    from topomap.run import Activations
    from topomap.store import open_run

    files = to or []
    for file in files:
        if file.suffix.lower() not in TABLES:
            raise unknown(f"the suffix of {file}", file.suffix, TABLES)
    opened = open_run(run)
    acts = pick(opened, layer, reduce)
    if not isinstance(acts, Activations):
        raise ValueError(
            f"inputs are judged by their neighbours, and layer {acts.layer!r} was recorded with keep='moments': record "
            "it with --keep values."
        )
    found = find_label_errors(acts, min_size=min_size, n=n)
    rows = [
        (
            *(one.names[0], one.names[1], f"{one.n} of {one.n_label}", f"{one.score:.2f}", f"{one.low:.2f}"),
            *("unknown" if one.confidence is None else f"{one.confidence:.2f}", f"{one.own:.0%}", f"{one.other:.0%}"),
            *("swapped?" if one.strong else "", ", ".join(map(str, opened.inputs.ids[one.inputs[:MOST]].tolist()))),
        )
        for one in found
    ]
    header = (
        "label",
        "predicted",
        "inputs",
        "score",
        "at least",
        "confidence",
        "near own",
        "near other",
        "",
        "such as",
    )
    print(table(rows, header) if rows else _nothing(acts, min_size))
    strong = sum(one.strong for one in found)
    if rows:
        look = " Look at their inputs: a model that leans towards a class for another reason can look the same."
        some = f"{strong} of {len(found)} pairs show{'s' * (strong == 1)}" if strong else "No pair shows"
        print(f"\n{some} more than ordinary confusions do.{look if strong else ''}")
        few = sum(count < min_size for count in _confused(acts).values())
        if few:
            pairs = "1 pair of classes is" if few == 1 else f"{few} pairs of classes are"
            print(f"{pairs} confused fewer than {min_size} times, and not judged: see --min-size.")
    for name, labels in _leaning(found).items():
        print(
            f"{len(labels)} labels are taken for {name} ({', '.join(labels)}): this is what a model looks like that "
            "leans towards a class, or learnt a shortcut to it, more than swapped labels."
        )
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = _csv(found, opened.inputs) if file.suffix.lower() == ".csv" else _json(found, opened.inputs)
        file.write_text(text, encoding="utf-8")
        print(file)


def _confused(acts: Activations) -> Counter[tuple[str, str]]:
    """Return how many inputs of the layer have each label and another prediction."""
    import numpy as np

    inputs = acts.inputs
    assert inputs.correct is not None and acts.rows is not None  # find_label_errors refuses others
    here = np.unique(acts.rows)
    wrong = here[np.asarray(inputs.correct[here] == 0)]
    return Counter(zip(inputs.named("label")[wrong], inputs.named("prediction")[wrong], strict=True))


def _nothing(acts: Activations, min_size: int) -> str:
    """Return why no pair was judged, and what would judge one."""
    confused = _confused(acts)
    if not confused:
        return "no input is misclassified: there is nothing to judge"
    (label, prediction), most = max(confused.items(), key=lambda pair: pair[1])
    wrong = "1 input is" if confused.total() == 1 else f"{confused.total()} inputs are"
    return (
        f"no pair of classes is confused {min_size} times: {wrong} misclassified, at most {most} of one pair ({label} "
        f"taken for {prediction})\n--min-size {most} judges pairs of so few; the fewer, the less they say"
    )


def _leaning(found: Sequence[LabelError]) -> dict[str, tuple[str, ...]]:
    """Return the classes that several labels are strongly taken for, and these labels."""
    return {one.names[1]: (one.names[0], *one.alike) for one in reversed(found) if one.alike}


def _csv(found: Sequence[LabelError], inputs: Inputs) -> str:
    """Return one row per input of a pair, those that say most first."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["rank", "label", "prediction", "score", "low", "strong", "input", "evidence"])
    for rank, one in enumerate(found, 1):
        for position, evidence in zip(one.inputs.tolist(), one.evidence.tolist(), strict=True):
            pair = [rank, *one.names, one.score, one.low, int(one.strong)]
            writer.writerow([*pair, inputs.ids[position], evidence])
    return file.getvalue()


def _json(found: Sequence[LabelError], inputs: Inputs) -> str:
    pairs = [one.to_dict() | {"ids": inputs.ids[one.inputs].tolist()} for one in found]
    return json.dumps(pairs, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
