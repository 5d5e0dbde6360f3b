"""The model card as text: Markdown, with the metadata of the Hugging Face hub before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jinja2

from fgcme.card.figures import METRICS, Figures
from fgcme.card.rating_figures import RatingFigures
from fgcme.card.summary import answered
from fgcme.corpora import Corpus
from fgcme.data import Tasks
from fgcme.report.formatting import (
    count,
    decimals,
    decimals_range,
    listing,
    percent,
    percent_range,
    points,
    points_range,
    signed_decimals,
    signed_decimals_range,
)
from fgcme.robustness import Condition, RatingCondition

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Of a version's description in MLflow's databases.
_LONGEST = 5000
_MORE = "\n\n(The rest is in the model's file README.md.)"
# By ISO 639-1, as the hub wants them.
_LANGUAGES = {
    "Chinese": "zh",
    "Danish": "da",
    "English": "en",
    "French": "fr",
    "German": "de",
    "Italian": "it",
    "Mandarin": "zh",
    "Persian": "fa",
    "Polish": "pl",
    "Spanish": "es",
}
_OF_RATINGS = {"ccc": "CCC", "pearson": "Pearson correlation", "rmse": "RMSE"}
# Name, type on the hub, and arguments of the metric.
_ON_THE_HUB = {"ua": ("UA", "recall", "macro"), "wa": ("WA", "accuracy", None), "macro_f1": ("macro-F1", "f1", "macro")}


@dataclass(frozen=True)
class Subject:
    """The model that a card is about.

    Attributes:
        name: in the registry.
        alias: of the version, if it gets one.
        summary: what `fgcme.card.summary.summarise_version` says of it.
        origin: protocol, selection, corpus_hash, and the other tags of its version.
        corpus: that it was trained on.
        tasks: what it answers.
        needs_text: whether it needs a transcript.
        reads_test_audio: whether it was measured with unlabelled audio of the test speakers.
    """

    name: str
    alias: str | None
    summary: str
    origin: dict[str, str]
    corpus: Corpus
    tasks: Tasks
    needs_text: bool
    reads_test_audio: bool

    @property
    def together(self) -> bool:
        """Whether it is several models that answer together."""
        return "members" in self.origin

    @property
    def optimistic(self) -> list[str]:
        """Why its figures are better than those for new speakers would be; a reason a line."""
        reasons = []
        if "optimistic" in self.origin["selection"]:
            reasons.append("epochs were chosen on the test part")
        if "tuned_on" in self.origin:
            reasons.append(f"settings were chosen on speakers who are test speakers here: {self.origin['tuned_on']}")
        return reasons


@dataclass(frozen=True)
class Measured:
    """What is known of how good a model is; nothing where its cross-validation is not complete.

    Attributes:
        figures: of its answers of classes; None where it answers ratings alone.
        ratings: of its answers of ratings; None where it answers classes alone.
        conditions: its robustness as to classes; none where it was not measured.
        rating_conditions: the same as to ratings.
    """

    figures: Figures | None = None
    ratings: RatingFigures | None = None
    conditions: Sequence[Condition] = ()
    rating_conditions: Sequence[RatingCondition] = ()


def model_card(subject: Subject, measured: Measured) -> str:
    """The card of a model: what the Hugging Face hub reads, then what people read.

    Args:
        subject: the model.
        measured: how good it is.
    """
    from huggingface_hub import ModelCard, ModelCardData

    corpus = subject.corpus
    data = ModelCardData(
        language=_LANGUAGES.get(corpus.language),
        license=corpus.licence_id,
        license_name=corpus.licence if corpus.licence_id == "other" else None,
        library_name="fgcme",
        pipeline_tag="audio-classification",
        tags=["speech-emotion-recognition", subject.origin["corpus"]],
        model_name=subject.name,
        eval_results=list(_results(subject, measured)) or None,
    )
    body = _render(subject, measured, brief=False)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {subject.name}\n\n{body}"))


def version_description(subject: Subject, measured: Measured) -> str:
    """The card without its longest tables, as a version's description: no longer than MLflow's databases hold."""
    text = _render(subject, replace(measured, conditions=(), rating_conditions=()), brief=True).rstrip()
    if len(text) + len(_MORE) > _LONGEST:
        text = text[: _LONGEST - len(_MORE)].rpartition("\n")[0]
    return text + _MORE


def _results(subject: Subject, measured: Measured) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    # Type on the hub, name, value and arguments of each.
    found: list[tuple[str, str, float, dict[str, str] | None]] = []
    if measured.figures is not None:
        for metric in METRICS:
            name, kind, average = _ON_THE_HUB[metric]
            value = measured.figures.everybody.metrics[metric].value
            found.append((kind, name, value, {"average": average} if average else None))
    if measured.ratings is not None:
        for metric, estimate in measured.ratings.everybody.summary.metrics.items():
            kind, _, dimension = metric.partition("_")
            title = f"{_OF_RATINGS[kind]} of {dimension}" if dimension else f"mean {_OF_RATINGS[kind]}"
            found.append((kind, title, estimate.mean, None))
    for kind, name, value, arguments in found:
        yield EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=subject.origin["corpus"],
            dataset_name=subject.corpus.title,
            dataset_config=subject.origin["protocol"],
            dataset_split="test, out of fold" + (" (optimistic)" if subject.optimistic else ""),
            dataset_args={"prepared_corpus": subject.origin["corpus_hash"]},
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 4),
            metric_args=arguments,
        )


def _render(subject: Subject, measured: Measured, brief: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fgcme.card", ""), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {
        "count": count,
        "decimals": decimals,
        "decimals_range": decimals_range,
        "signed_decimals": signed_decimals,
        "signed_decimals_range": signed_decimals_range,
        "listing": listing,
        "percent": percent,
        "percent_range": percent_range,
        "points": points,
        "points_range": points_range,
        "share": lambda value: "" if math.isnan(value) else percent(value),
    }
    address = f"models:/{subject.name}@{subject.alias}" if subject.alias else f"models:/{subject.name}/VERSION"
    tasks = subject.tasks
    judged = [*(["labelled"] if tasks.classes else []), *(["rated"] if tasks.dimensions else [])]
    return environment.get_template("card.md.j2").render(
        subject=subject,
        answered=answered(subject.tasks),
        judged=" and ".join(judged),
        scales=[f"{name} from {low:g} to {high:g}" for name, (low, high) in tasks.dimensions.items()],
        figures=measured.figures,
        ratings=measured.ratings,
        conditions=measured.conditions,
        rating_conditions=measured.rating_conditions,
        brief=brief,
        address=address,
    )
