"""One validated description of an experiment, read from YAML and dotted overrides.

An experiment file holds only what differs from the defaults below. Building blocks take plain arguments; only
`model.build`, `training.learning` and the entry function of each verb read settings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from fgcme.experiment.corpus_settings import CorpusSettings, ProtocolSettings
from fgcme.experiment.dotted import flatten
from fgcme.experiment.older_settings import RENAMED_POOLING
from fgcme.experiment.prepare_settings import PrepareSettings
from fgcme.experiment.section import Address, Distinct, Fraction, Gpus, Name, Natural, Positive, Settings
from fgcme.experiment.training_settings import TrainingSettings


class AcousticSettings(Settings):
    """The front end, and the acoustic encoder: 1-D convolutions over time, without padding."""

    input: Literal["prepared", "mfcc", "published"] = Field(
        "prepared",
        description="frames as they were prepared; or of prepared log-mel frames the cepstrum, or the published "
        "code's scale and floor",
    )
    deltas: Annotated[int, Field(ge=0, le=2)] = Field(0, description="1 appends delta, 2 delta and delta-delta")
    normalisation: Literal["none", "train", "utterance", "speaker"] = Field(
        "none", description="mean and variance per value: of the training part, the utterance, or all of its speaker"
    )
    layers: Literal["mix", "concatenate"] = Field(
        "mix", description="an encoder's layers are mixed by learned weights, or side by side in a wider frame"
    )
    trained_layers: Natural = Field(
        0, description="last layers of the speech encoder that the model holds and trains; what enters them is prepared"
    )
    lora_rank: Natural = Field(0, description="LoRA's matrices beside the held layers are trained; 0: the layers whole")
    channels: list[Positive] = Field([64, 128, 128])
    kernels: list[Positive] = Field([5, 2, 2])
    activation: Literal["none", "relu", "gelu"] = "none"
    layer_normalisation: bool = Field(False, description="over the channels, after each convolution but the last")
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _check_kernels(self) -> AcousticSettings:
        if len(self.channels) != len(self.kernels):
            raise ValueError("`channels` and `kernels` need the same number of entries; none leave frames as they are")
        return self


class SemanticSettings(Settings):
    """The semantic encoder: a fine-tuned word embedding or a text encoder's, mapped to the size of the acoustics'."""

    input: Literal["table", "encoder"] | None = Field(
        None,
        description="a trained table of words, or what a frozen text encoder says of each, its layers mixed by learned "
        "weights; by default the encoder where prepare.text.checkpoint names one",
    )
    embedding: Positive = Field(300, description="values of a word (input: table)")
    vectors: str | None = Field(
        None,
        description="GloVe text file to start the embedding from; words that only dev or test have keep its vectors",
    )
    dropout: Fraction = 0.0


SegmentChoice = Literal["words", "even", "even_speech", "random", "recording", "speech"]
PoolingKind = Literal["mean_max", "mean", "max", "softmax", "lse", "attention", "statistics"]


class PoolingSettings(Settings):
    """Which frames stand for a word, and how they become one vector."""

    segments: SegmentChoice = Field(
        "words",
        description="the words' spans; else without the alignment: as many `even` parts of the recording or of its "
        "speech, or `random` parts of the speech (drawn anew each epoch, even for evaluation), or the whole "
        "`recording` or its `speech` for every word",
    )
    kind: PoolingKind = Field("mean_max", description="how the frames of a segment are reduced")
    width: Literal["natural", "equal"] = Field(
        "natural", description="`equal`: kinds of one value a channel give it twice, as wide as mean_max and statistics"
    )
    overall: Literal["none", "recording", "speech"] = Field(
        "none", description="its mean and deviation are classified too, beside the words (kind: fgcme)"
    )
    margin: Natural = Field(0, description="prepared frames of context that a segment reads on either side")
    normalisation: Literal["none", "train", "speaker"] = Field(
        "none",
        description="mean and variance of each pooled value: of the training part, or of all that its speaker says; "
        "needs model.acoustic.channels []; where an encoder's layers or an attention are trained below, the moments "
        "are those before training (a linear_probe has `train` or `speaker`)",
    )
    dropout: Fraction = Field(0.0, description="on the acoustic features of the words")
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="of log-sum-exp: towards 0 it is the maximum, towards infinity the mean (kind: lse)"
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _tell_renamed_kinds(cls, kind: Any) -> Any:
        if kind in RENAMED_POOLING:
            raise ValueError(f"{kind} is now `segments: {RENAMED_POOLING[kind]}`, with any kind, such as mean_max")
        return kind


ExcitementForm = Literal["none", "gate", "residual_gate", "additive"]


class ExcitementSettings(Settings):
    """How each modality recalibrates the other."""

    semantic: ExcitementForm = Field("residual_gate", description="form on the semantic side, driven by the acoustics")
    acoustic: ExcitementForm = Field("residual_gate", description="form on the acoustic side")
    driver: Literal["features", "word"] = Field(
        "features", description="the acoustic side's driver: text features (the figure) or a table by word (the code)"
    )
    reduction_ratio: Positive = Field(
        1, description="how many times narrower the bottleneck is; 1 is the paper's single linear map"
    )


class FusionSettings(Settings):
    """The sequence model over the words of an utterance, and what is read out of it."""

    sequence: Literal["lstm", "wordwise"] = Field(
        "lstm", description="a bidirectional LSTM, or one linear map and a GELU for each word alone"
    )
    hidden: Positive = Field(256, description="half of the values of a word's output: units each way of the LSTM")
    dropout: Fraction = Field(0.0, description="on the classifier's input")
    readout: Literal["max", "mean", "attention"] = "max"


class BaselineSettings(Settings):
    """Settings that only the baselines use."""

    hidden: Positive = Field(256, description="units each way of the LSTMs of one modality")
    stack: Positive = Field(1, description="consecutive frames that an acoustic LSTM reads at a step")
    heads: Positive = Field(4, description="attention heads (kind: learned_alignment)")
    positions: Positive = Field(64, description="words of an utterance that can be aligned (kind: ctc_alignment)")

    @model_validator(mode="after")
    def _check_heads(self) -> BaselineSettings:
        if 2 * self.hidden % self.heads:
            raise ValueError(f"`heads` must divide the LSTM's {2 * self.hidden} outputs")
        return self


ModelKind = Literal[
    "fgcme",
    "acoustic_lstm",
    "semantic_lstm",
    "late_fusion",
    "multi_hop_attention",
    "learned_alignment",
    "ctc_alignment",
    "can",
    "framewise_text",
    "linear_probe",
    "pooled_statistics",
]


# Baselines whose words have features of both sides, as FG-CME's have.
_FUSE_WORDS = ("learned_alignment", "ctc_alignment", "can")


class ModelSettings(Settings):
    """FG-CME, or a baseline that it is compared with."""

    kind: ModelKind = "fgcme"
    modalities: Literal["both", "acoustic", "semantic"] = Field("both", description="kind: fgcme or pooled_statistics")
    acoustic: AcousticSettings = AcousticSettings()
    semantic: SemanticSettings = SemanticSettings()
    pooling: PoolingSettings = PoolingSettings()
    excitement: ExcitementSettings = ExcitementSettings()
    fusion: FusionSettings = FusionSettings()
    baseline: BaselineSettings = BaselineSettings()


class ScalingSettings(Settings):
    """Resources of a training."""

    workers: Natural = Field(0, description="Ray Train workers of one training; 0 trains in the fold's own process")
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    gpus_per_worker: Gpus = 0.0
    gpus_per_trial: Gpus | None = Field(
        None, description="of a sweep's trial, e.g. 0.125: eight share a GPU; by default what its workers need"
    )
    max_concurrent: Positive | None = Field(None, description="trainings at once; by default as many as fit")

    @model_validator(mode="after")
    def _check_gpus(self) -> ScalingSettings:
        shares = {
            "gpus_per_worker": self.gpus_per_worker,
            "gpus_per_trial": (self.gpus_per_trial or 0) / max(self.workers, 1),
        }
        for name, share in shares.items():
            if self.workers > 1 and share != int(share):
                raise ValueError(
                    f"`{name}` gives each of {self.workers} workers {share:g} GPUs, and NCCL takes no two workers on "
                    "one GPU: give each a whole one, or set `workers` to 0 or 1"
                )
        return self


class TuneSettings(Settings):
    """How a sweep looks for a better configuration."""

    trials: Positive = 16
    folds: Distinct | None = Field(
        None, description="folds whose dev parts decide; by default as many as have 500 utterances there"
    )
    objective: Literal["score", "ua", "wa", "macro_f1", "ccc"] = Field(
        "score", description="dev metric of the best epoch, mean over the folds; `score` is training.score's"
    )
    cost: Literal["none", "parameters", "latency"] = Field(
        "none", description="second objective, to be small: parameters, or ms to classify a dev utterance"
    )
    search: Literal["tpe", "random", "grid", "cmaes", "nsga2"] = Field(
        "tpe", description="`grid` tries every configuration of the space, whatever `trials` says"
    )
    scheduler: Literal["asha", "hyperband", "median", "none", "pbt"] | None = Field(
        None, description="what stops bad trials early; by default asha, or none with a cost"
    )
    seed: Natural = 0
    grace_period: Positive = Field(3, description="epochs every trial may run before it can be stopped")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(3, description="one of this many trials continues")
    study_storage: Address = Field(
        None, description="Optuna's database, e.g. sqlite:///study.db, which drivers share and optuna-dashboard opens"
    )
    max_failures: Natural = Field(3, description="failed trials that a sweep tolerates")
    epoch_minutes: Annotated[float, Field(gt=0)] = Field(60, description="a longer epoch counts as hanging")

    @property
    def planned_folds(self) -> list[int]:
        """The folds whose dev parts decide, of a sweep that is planned: they were chosen then if not before."""
        assert self.folds is not None, "the plan of a sweep has its folds"
        return self.folds

    @model_validator(mode="after")
    def _check_search(self) -> TuneSettings:
        if self.search == "nsga2" and self.cost == "none":
            raise ValueError("`search: nsga2` needs a second objective: set `cost` to parameters or latency")
        if self.cost != "none" and self.search in ("cmaes", "grid"):
            raise ValueError(
                f"`search: {self.search}` takes one objective: set `cost: none`, or search by tpe or nsga2"
            )
        if self.scheduler == "pbt" and (self.search != "random" or self.cost != "none"):
            raise ValueError("`scheduler: pbt` changes trials as they run: it goes with `search: random`, `cost: none`")
        return self


class StorageSettings(Settings):
    """Where results go: a folder that all nodes share."""

    path: str = "storage"


class TrackingSettings(Settings):
    """Where runs are recorded."""

    uri: Address = Field(None, description="by default MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")


class Experiment(Settings):
    """All settings of an experiment: what decides its result, and how and where it runs."""

    name: Name
    corpus: CorpusSettings
    protocol: ProtocolSettings
    prepare: PrepareSettings = PrepareSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    scaling: ScalingSettings = ScalingSettings()
    tune: TuneSettings = TuneSettings()
    storage: StorageSettings = StorageSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _check_combinations(self) -> Experiment:
        augmentation, model = self.training.augmentation, self.model
        if self.prepare.features.kind != "log_mel":
            if model.acoustic.input != "prepared":
                raise ValueError(f"model.acoustic.input {model.acoustic.input} needs prepare.features.kind log_mel")
            if augmentation.speed or augmentation.gain_db or augmentation.noise:
                raise ValueError(
                    "training.augmentation.speed, gain_db and noise need prepare.features.kind log_mel: "
                    "they work on its energies"
                )
        if self.training.loss == "ctc":
            if model.kind not in ("fgcme", "learned_alignment", "ctc_alignment"):
                raise ValueError(f"training.loss ctc needs a model that classifies words, which {model.kind} does not")
            if augmentation.mixup_alpha or self.training.class_weights != "none":
                raise ValueError(
                    "training.loss ctc goes with neither training.augmentation.mixup_alpha nor training.class_weights"
                )
        if model.pooling.normalisation != "none" or model.kind == "linear_probe":
            self._check_pooled()
        self._check_words()
        self._check_trained_layers()
        self._check_cross_modal_alignment()
        if augmentation.modality_dropout and (model.kind != "fgcme" or model.modalities != "both"):
            raise ValueError("training.augmentation.modality_dropout needs model.kind fgcme with model.modalities both")
        if self.training.refit and self.protocol.selection == "test":
            raise ValueError(
                "training.refit trains on the part that chose the epoch, so it needs protocol.selection dev"
            )
        if self.training.label_smoothing and self.training.loss != "cross_entropy":
            raise ValueError("training.label_smoothing goes with training.loss cross_entropy")
        if augmentation.mixup_alpha and model.kind == "late_fusion":
            raise ValueError("training.augmentation.mixup_alpha does not go with late_fusion, which mixes nothing")
        return self

    def _check_words(self) -> None:
        """Refuse what a word is made of where it is not there, or would not count."""
        semantic, prepared = self.model.semantic, self.prepare.text.checkpoint is not None
        if semantic.input == "encoder" and not prepared:
            raise ValueError("model.semantic.input encoder needs prepare.text.checkpoint, a folder or a hub name")
        if semantic.vectors is not None and prepared and semantic.input != "table":
            raise ValueError(
                "model.semantic.vectors are for a table of words, and prepare.text.checkpoint names an encoder: set "
                "model.semantic.input table, or leave one of them out"
            )

    def _check_pooled(self) -> None:
        """Refuse to standardise what is pooled of values that training changes."""
        model = self.model
        if model.kind == "fgcme" and model.acoustic.channels:
            raise ValueError(
                "pooled values are standardised where the frames below them are not trained: with "
                "model.acoustic.channels [] and kernels [], or without model.pooling.normalisation"
            )
        is_mixed = self.prepare.features.kind == "speech_encoder" and model.acoustic.layers == "mix"
        if model.kind == "linear_probe" and is_mixed:
            raise ValueError("a linear_probe standardises what is not trained: set model.acoustic.layers=concatenate")

    def _check_trained_layers(self) -> None:
        """Refuse what changes the values that enter an encoder's layers, or standardises once what they change."""
        features, model, acoustic = self.prepare.features, self.model, self.model.acoustic
        refused = {
            "prepare.features.kind log_mel": features.kind == "log_mel",
            "prepare.features.padded": features.padded,
            "model.acoustic.normalisation": acoustic.normalisation != "none",
            "model.acoustic.deltas": acoustic.deltas > 0,
            "model.kind linear_probe": model.kind == "linear_probe",
        }
        if acoustic.trained_layers and (wrong := [name for name, is_set in refused.items() if is_set]):
            raise ValueError(f"model.acoustic.trained_layers takes an encoder's own frames, and no {wrong[0]}")
        if acoustic.lora_rank and not acoustic.trained_layers:
            raise ValueError("model.acoustic.lora_rank goes with model.acoustic.trained_layers")

    def _check_cross_modal_alignment(self) -> None:
        """Refuse to align sides that are not there, and batches in which there is nobody to tell them from."""
        training, model, workers = self.training, self.model, max(self.scaling.workers, 1)
        if not training.cross_modal_alignment.is_on:
            return
        has_sides = model.modalities == "both" if model.kind == "fgcme" else model.kind in _FUSE_WORDS
        if not has_sides:
            raise ValueError(
                "training.cross_modal_alignment needs features of each word on both sides: model.kind fgcme with "
                f"model.modalities both, {', '.join(_FUSE_WORDS)}"
            )
        if training.batch_size < 2 * workers:
            raise ValueError(
                "training.cross_modal_alignment tells the utterances of a worker's batch apart: "
                f"set training.batch_size to {2 * workers} or more"
            )
        if training.augmentation.modality_dropout == 1:
            raise ValueError(
                "training.cross_modal_alignment needs utterances that keep sound and words: "
                "set training.augmentation.modality_dropout below 1"
            )

    def flat(self) -> dict[str, Any]:
        """Every setting under its dotted name, as MLflow's parameters want them.

        >>> from fgcme.experiment import parse_experiment
        >>> experiment = parse_experiment(
        ...     {"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}}
        ... )
        >>> experiment.flat()["model.pooling.kind"]
        'mean_max'
        """
        return flatten(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        """The whole experiment, defaults included, as YAML that `load_experiment` reads back as an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
