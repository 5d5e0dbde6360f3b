"""What a version of a registered model is, and its scores, in a few lines."""

from __future__ import annotations

from fgcme.data import Tasks
from fgcme.evaluation.summary import main_measures
from fgcme.report.headline import format_measure
from fgcme.serving.fitted import ModelSpec
from fgcme.serving.needs import Needs, needs_of

_GIVEN = {
    Needs(sound=True, text=True): "a recording and its transcript",
    Needs(sound=True, text=False): "a recording",
    Needs(sound=False, text=True): "what is said",
    Needs(sound=False, text=False): "a recording and its transcript, or one of them",
}


def summarise_version(origin: dict[str, str], metrics: dict[str, float], spec: ModelSpec, folds: int) -> str:
    """The text about a version on its page in MLflow, in Markdown.

    Args:
        origin: protocol, selection, corpus, corpus_hash, commit, fold, seed and source_run; for a training of an
            ablation also variant and ablation; for one on all speakers also cross_validation and epochs.
        metrics: none in per cent, by names such as `fold.dev_ua`; those of the cross-validation may be missing.
        spec: of the model, or of an ensemble's first member.
        folds: number of finished trainings in the cross-validation.
    """
    kept = (
        f"all of them, by their mean {answered(spec.tasks)}"
        if "members" in origin
        else f"one of {folds} finished trainings"
    )
    variant = f"Variant {origin['variant']} of the ablation {origin['ablation']}. " if "variant" in origin else ""
    given = _GIVEN[needs_of([spec])]
    speeds = ", ".join(f"{speed:g}" for speed in spec.prepare.copies.speed)
    copies = (
        f" It answers by the mean {answered(spec.tasks)} of the recording and of its copies at speeds {speeds}."
        if speeds
        else ""
    )
    lines = [
        f"Speech emotion recognition from {given}: {', '.join(_answers(spec.tasks))}.{copies}",
        "",
        f"{variant}{which_training(origin)} of protocol {origin['protocol']} on corpus "
        f"{origin['corpus']} (prepared corpus {origin['corpus_hash']}); {kept}; "
        f"code {origin['commit']}, run {origin['source_run']}.",
        "",
    ]
    if "optimistic" in origin["selection"]:
        lines += ["**Optimistic: epochs were chosen on the test part, as in the published code.**", ""]
    lines += _scores(origin, metrics, spec.tasks)
    if "cross_validation" in origin:
        lines += [
            "",
            f"Trained on all speakers for {origin['epochs']} epochs, as that cross-validation chose: nobody is left to "
            "test on. The estimate is that of its models, which heard fewer speakers.",
        ]
    elif "members" in origin:
        lines += [
            "",
            "Each speaker was trained on by some of its models: of all together no honest score can be had.",
        ]
    if f"cross_validation.test_{main_measures(spec.tasks)[0]}" not in metrics:
        lines += ["", "The cross-validation that this fold belongs to is not complete."]
    for key in ("tuned_on", "allow_missing", "forced"):
        if key in origin:
            lines += ["", f"{key.replace('_', ' ').capitalize()}: {origin[key]}"]
    return "\n".join(lines)


def answered(tasks: Tasks) -> str:
    """What several models that answer together take the mean of.

    >>> answered(Tasks(["calm"], {"valence": (1, 5)}))
    'logits and ratings'
    """
    return " and ".join([*(["logits"] if tasks.classes else []), *(["ratings"] if tasks.dimensions else [])])


def _answers(tasks: Tasks) -> list[str]:
    """What a model answers: its classes, then its ratings, each with its scale."""
    return [*tasks.classes, *(f"{name} from {low:g} to {high:g}" for name, (low, high) in tasks.dimensions.items())]


def _title(measure: str, mixed: bool) -> str:
    """The title of a column: the mean CCC stands before that of each dimension."""
    if measure.startswith("ccc"):
        return measure.partition("_")[2] or "CCC"
    return f"{measure.upper()}, %" if mixed else measure.upper()


def _scores(origin: dict[str, str], metrics: dict[str, float], tasks: Tasks) -> list[str]:
    """The table of scores of a version, as Markdown."""
    measures = main_measures(tasks)
    titles = [_title(measure, len(tasks.dimensions) > 0) for measure in measures]
    lines = [f"| {'' if tasks.dimensions else '%'} | {' | '.join(titles)} |", "|---" * (len(measures) + 1) + "|"]
    of_all = "all folds" if "cross_validation" not in origin else f"cross-validation {origin['cross_validation']}"
    for part, title in (
        ("fold.dev", "this model, dev part"),
        ("fold.test", "this model, test part"),
        ("cross_validation.dev", f"{of_all}, dev parts, mean"),
        ("cross_validation.test", f"{of_all}, test parts, out of fold"),
        ("cross_validation.untuned", "the same, without the speakers that the configuration was tuned on"),
        ("ensemble.test", "the models of each fold together, out of fold"),
    ):
        values = [metrics.get(f"{part}_{measure}") for measure in measures]
        if None not in values:
            said = (
                format_measure(measure, value).removesuffix(" %")
                for measure, value in zip(measures, values, strict=True)
                if value is not None
            )
            lines.append(f"| {title} | {' | '.join(said)} |")
    return lines


def which_training(origin: dict[str, str]) -> str:
    """The training that a model comes from, or those of an ensemble."""
    everybody = "cross_validation" in origin
    if "members" in origin:
        heard = "all speakers" if everybody else f"folds {origin['fold']}"
        return f"{origin['members']} models of {heard}, seeds {origin['seed']}"
    heard = "All speakers" if everybody else f"Fold {origin['fold']}"
    return f"{heard}, seed {origin['seed']}"
