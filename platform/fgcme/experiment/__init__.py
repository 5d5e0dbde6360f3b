"""What an experiment is: its settings, read from YAML and overrides; search spaces, ablations, named variants."""

from fgcme.experiment.corpus_settings import CorpusSettings, PartsSettings, ProtocolSettings, Scale
from fgcme.experiment.loading import apply_configuration, load_experiment, parse_experiment, parse_stored
from fgcme.experiment.older_settings import renew_model, renew_prepare
from fgcme.experiment.parameter import Parameter, Value
from fgcme.experiment.prepare_settings import AlignmentSettings, FeatureSettings, PrepareSettings, TextSettings
from fgcme.experiment.search_space import Space
from fgcme.experiment.section import as_name
from fgcme.experiment.settings import (
    AcousticSettings,
    ExcitementForm,
    Experiment,
    ModelKind,
    ModelSettings,
    ScalingSettings,
    TuneSettings,
)
from fgcme.experiment.space_file import load_space
from fgcme.experiment.training_settings import AugmentationSettings, CrossModalSettings, TaskWeights, TrainingSettings

__all__ = [
    "AcousticSettings",
    "AlignmentSettings",
    "AugmentationSettings",
    "CorpusSettings",
    "CrossModalSettings",
    "ExcitementForm",
    "Experiment",
    "FeatureSettings",
    "ModelKind",
    "ModelSettings",
    "Parameter",
    "PartsSettings",
    "PrepareSettings",
    "ProtocolSettings",
    "Scale",
    "ScalingSettings",
    "Space",
    "TaskWeights",
    "TextSettings",
    "TrainingSettings",
    "TuneSettings",
    "Value",
    "apply_configuration",
    "as_name",
    "load_experiment",
    "load_space",
    "parse_experiment",
    "parse_stored",
    "renew_model",
    "renew_prepare",
]
