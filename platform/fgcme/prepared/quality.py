"""What the rows of a prepared corpus say of their alignments, and which of them a person should look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fgcme.prepared.corpus import read_parts


class _Measure(NamedTuple):
    """A column, its name for a person, its unit, and whether large values are the bad ones."""

    column: str
    name: str
    unit: str
    large_is_bad: bool


_MEASURES = (
    _Measure("alignment_score", "score", "", False),
    _Measure("duration_deviation", "unevenness of words", "", True),
    _Measure("signal_to_noise", "signal to noise", " dB", False),
)


def quality_lines(folder: Path, worst: int = 3) -> Iterator[str]:
    """For each method of alignment and each measure: what half of the utterances have, and those that are worst.

    Args:
        folder: of the prepared corpus.
        worst: how many utterances are named.

    Yields:
        Such as `sphinx: score -2.1, lowest a (-6.3), b (-5.9), c (-5.5)`. Nothing of a measure without values.
    """
    columns = ["id", "alignment", *(measure.column for measure in _MEASURES)]
    rows = pa.concat_tables([table for _, table in read_parts(folder, columns)] or [pa.table({"alignment": []})])
    for method in sorted(pc.unique(rows["alignment"]).to_pylist()):
        own = rows.filter(pc.equal(rows["alignment"], method))
        for measure in _MEASURES:
            values = np.array(own[measure.column].to_pylist(), np.float64)
            known = np.flatnonzero(np.isfinite(values))
            if not known.size:
                continue
            order = known[np.argsort(-values[known] if measure.large_is_bad else values[known], kind="stable")]
            named = ", ".join(f"{own['id'][int(row)]} ({values[row]:.2g})" for row in order[:worst])
            median = float(np.median(values[known]))
            yield f"{method}: {measure.name} {median:.2g}{measure.unit}, {_end(measure)} {named}"


def _end(measure: _Measure) -> str:
    return "highest" if measure.large_is_bad else "lowest"
