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

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from fgcme.errors import UserError
from fgcme.experiment import variants
from fgcme.experiment.dotted import set_dotted
from fgcme.experiment.explanation import explain
from fgcme.experiment.loading import parse_experiment
from fgcme.experiment.section import Name
from fgcme.experiment.setting_names import did_you_mean, setting_type
from fgcme.experiment.settings import Experiment
from fgcme.experiment.yaml_text import read_yaml

# A name this much like a named variant's is a slip of the pen, even if it has settings of its own.
_SLIP = 0.85


class Ablation(BaseModel):
    """What is compared.

    Attributes:
        reference: the variant that all others are compared with.
        variants: name -> dotted settings that make it differ from the experiment, or from the variant of its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    variants: dict[Name, dict[str, Any] | None]

    @field_validator("variants", mode="before")
    @classmethod
    def _check_variants(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or not content:
            raise ValueError("name at least one, each on a line, as in `fgcme:`")
        return content


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
            f"{path}: {explain(error, _explain_unknown_key)[0]}; an ablation has `reference` and at least one of "
            "`variants`"
        ) from None
    if ablation.reference not in ablation.variants:
        raise UserError(f"{path}: reference: {ablation.reference} is none of {', '.join(ablation.variants)}")
    experiments: dict[str, Experiment] = {}
    for name, settings in ablation.variants.items():
        try:
            variant = _make_variant(experiment, name, settings or {})
        except UserError as error:
            raise UserError(f"{path}: variant {name}: {error}") from None
        for other, earlier in experiments.items():
            if earlier == variant:
                raise UserError(
                    f"{path}: variants {other} and {name} are the same under this experiment: drop one of them, or "
                    "change the experiment (model.modalities=both, if it is of one modality)"
                )
        experiments[name] = variant
    return ablation.reference, experiments


def _explain_unknown_key(key: str) -> str:
    allowed = list(Ablation.model_fields)
    return f"{key}: no such key{did_you_mean(key, allowed)} (allowed here: {', '.join(allowed)})"


def variant_content(experiment: Experiment, name: str) -> dict[str, Any]:
    """An experiment's sections with the settings of the named variant, if there is one of this name.

    Not validated: a named variant may need settings of its own to go with the experiment.
    """
    content = experiment.model_dump(mode="json")
    if name in variants.all_variants():
        variants.apply_variant(content, name)
    return content


def _make_variant(experiment: Experiment, name: str, settings: Mapping[str, Any]) -> Experiment:
    if name not in variants.all_variants():
        _check_own_name(name, settings)
    content = variant_content(experiment, name)
    for dotted, value in settings.items():
        setting_type(dotted)
        if not dotted.startswith(("model.", "training.")) or dotted == "training.seeds":
            raise UserError(f"{dotted} is the same for all variants: a variant has `model.` and `training.` settings")
        set_dotted(content, dotted, value)
    return parse_experiment(content)


def _check_own_name(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse a name that needs settings and has none, or that looks like a misspelt variant's."""
    known = variants.all_variants()
    if not settings:
        raise UserError(
            f"not a named variant, and without settings of its own{variants.hint(name)} (named are {', '.join(known)})"
        )
    # `mean_wider` is a name of its own, though it begins like a named variant's.
    if not name.startswith(tuple(known)) and (hint := variants.hint(name, _SLIP)):
        raise UserError(f"not a named variant{hint} Else choose a name that is less like it")
