"""Ablations: the named variants of an experiment that are compared with one of them, read from YAML.

    reference: fgcme
    variants:
      fgcme:                                        # a named variant (variants.yaml), as it is
      mean:
      mean_wider: {model.pooling.kind: mean, model.pooling.margin: 10}
      lse: {model.pooling.temperature: 0.5}         # a named variant, and more

A variant is the experiment with the settings of the named variant, if it has such a name, and then with its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fgcme.errors import UserError
from fgcme.experiment import variants
from fgcme.experiment.loading import parse_experiment, read_yaml, setting_type
from fgcme.experiment.settings import Experiment

# How alike two names are, from 0 to 1, of which one is a guess at the other, or is meant to be the other.
_GUESS, _SLIP = 0.6, 0.85
# It becomes part of file names and of MLflow's metric names.
Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class Ablation(BaseModel):
    """What is compared.

    Attributes:
        variants: name -> dotted settings that make it differ from the experiment, or from the variant of its name.
        reference: the variant that all others are compared with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    variants: Annotated[dict[Name, dict[str, Any] | None], Field(min_length=1)]


def load_ablation(path: Path, experiment: Experiment) -> tuple[str, dict[str, Experiment]]:
    """Read an ablation, and make the experiment of each of its variants.

    Returns:
        The name of the reference, and variant -> experiment in the order of the file.

    Raises:
        UserError: the file cannot be read or has no variant; a variant is neither named nor described; the experiment
            refuses one of its settings; two variants are the same; or the reference is not among them.
    """
    content = read_yaml(path)
    if "parameters" in content:
        raise UserError(f"{path}: a search space, not an ablation: use it with fgcme tune")
    try:
        ablation = Ablation.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"{path}: {_explain(error.errors()[0])}; an ablation has `reference` and at least one of `variants`"
        ) from None
    if ablation.reference not in ablation.variants:
        raise UserError(f"{path}: reference: {ablation.reference} is none of {', '.join(ablation.variants)}")
    made: dict[str, Experiment] = {}
    for name, own in ablation.variants.items():
        try:
            variant = _variant(experiment, name, own or {})
        except UserError as error:
            raise UserError(f"{path}: variant {name}: {str(error).removeprefix('experiment: ')}") from None
        for other, same in made.items():
            if same == variant:
                raise UserError(f"{path}: variants {other} and {name} are the same: drop one of them")
        made[name] = variant
    return ablation.reference, made


def _explain(item: Any) -> str:
    key, *rest = (str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "extra_forbidden":
        return f"{key} is none of its keys"
    if item["type"] == "string_pattern_mismatch":
        return f"{key}: {item['input']!r} is no name of letters, digits, `.`, `-` and `_`"
    if key == "variants" and not rest:
        return "variants: none is named, a line each, as in `fgcme:`"
    return f"{'.'.join([key, *rest])}: {item['input']!r} is refused: {item['msg'][0].lower()}{item['msg'][1:]}"


def _variant(experiment: Experiment, name: str, own: Mapping[str, Any]) -> Experiment:
    content = experiment.model_dump(mode="json")
    # With settings of its own almost any name will do, as `mean_wider`; but a slip of the pen would make it FG-CME.
    close = difflib.get_close_matches(name, variants.all_variants(), n=1, cutoff=_SLIP if own else _GUESS)
    if name in variants.all_variants():
        variants.merge(content["model"], variants.find_variant(name))
    elif own and close and not name.startswith(close[0]):
        raise UserError(f"not a named variant; did you mean {close[0]}? else choose a name that is less like it")
    elif not own:
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(
            f"not a named variant, and without settings of its own; {hint}"
            f"(named are {', '.join(variants.all_variants())})"
        )
    for dotted, value in own.items():
        if not dotted.startswith(("model.", "training.")) or dotted == "training.seeds":
            raise UserError(f"{dotted} is the same for all variants: a variant has `model.` and `training.` settings")
        setting_type(dotted)
        section = content
        *parents, last = dotted.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
    return parse_experiment(content)
