"""The `training` section of an experiment: how a model is fitted, and how training utterances are varied."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fgcme.experiment.section import Distinct, Fraction, Natural, Positive, Settings


class AugmentationSettings(Settings):
    """How training utterances are varied, anew in each epoch; by default not at all."""

    speed: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="factor is drawn from 1 - this to 1 + this")
    gain_db: Annotated[float, Field(ge=0)] = Field(0.0, description="level in dB is drawn from - this to + this")
    noise: Fraction = Field(0.0, description="share of the utterances that white noise is added to")
    snr_db: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [5.0, 20.0], description="dB of the waveforms, lowest and highest"
    )
    time_masks: Natural = Field(0, description="SpecAugment: stretches of frames that are blanked")
    time_width: Positive = Field(20, description="prepared frames, at most")
    frequency_masks: Natural = Field(0, description="SpecAugment: bands of values that are blanked")
    frequency_width: Positive = Field(8, description="values, at most")
    word_dropout: Fraction = Field(0.0, description="share of the words that become the unknown word")
    modality_dropout: Fraction = Field(
        0.0, description="share of the utterances that lose their words or, as often, their sound"
    )
    mixup_alpha: Annotated[float, Field(ge=0)] = Field(
        0.0, description="of the Beta distribution of mixing weights; 0: none"
    )

    @model_validator(mode="after")
    def _check_snr(self) -> AugmentationSettings:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError("give `snr_db` as [lowest, highest]")
        return self


class TaskWeights(Settings):
    """How much each task's loss counts where classes and ratings are learnt at once."""

    classes: Annotated[float, Field(gt=0)] = 1.0
    ratings: Annotated[float, Field(gt=0)] = Field(1.0, description="of 1 - CCC, the mean over protocol.dimensions")


class CrossModalSettings(Settings):
    """Losses that align what sound and words say before they are fused; see `fgcme.training.cross_modal`."""

    distribution: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the distribution-based loss: a Gaussian for each side of an utterance"
    )
    instance: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the instance-based loss: a vector for each side of an utterance"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(0.07, description="divides the similarities of both losses")

    @property
    def is_on(self) -> bool:
        """Whether a loss has a weight."""
        return bool(self.distribution or self.instance)


class TrainingSettings(Settings):
    """How a model is fitted."""

    epochs: Positive = 20
    batch_size: Positive = Field(32, description="utterances in a step, over all workers together")
    optimiser: Literal["adam", "adamw"] = Field(
        "adam", description="adam adds weight decay to the gradients, adamw takes it off the weights"
    )
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    encoder_learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-4, description="of model.acoustic.trained_layers; about 1e-5 where they are trained whole"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="share of the weights, in a step of adamw times the learning rate"
    )
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: Annotated[float, Field(ge=0)] = Field(
        0.0, description="in which the learning rate rises to its full value, before the schedule begins"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="what is evaluated and kept: weights averaged over about 1 / (1 - this) steps; 0: the last"
    )
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    loss: Literal["cross_entropy", "focal", "ctc"] = Field(
        "cross_entropy", description="`ctc` is over the words, each labelled with the emotion or blank"
    )
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Fraction = Field(0.0, description="loss: cross_entropy")
    focal_gamma: Annotated[float, Field(ge=0)] = Field(2.0, description="exponent of the focal loss")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 where it is exact enough")
    frame_limit: Positive = Field(3000, description="audio is cut after this many frames of 10 ms")
    score: Literal["published", "ua", "wa", "ccc"] = Field(
        "published",
        description="dev metric that selects the best epoch: 0.9 WA + 0.1 UA as published, or the mean CCC where "
        "ratings alone are learnt; UA; WA; or the mean CCC of the ratings",
    )
    task_weights: TaskWeights = TaskWeights()
    cross_modal_alignment: CrossModalSettings = CrossModalSettings()
    refit: bool = Field(
        False, description="train anew on train and dev part, as many epochs as dev chose, for what is tested and kept"
    )
    seeds: Distinct = Field([0])
    augmentation: AugmentationSettings = AugmentationSettings()

    @model_validator(mode="after")
    def _check_warmup(self) -> TrainingSettings:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"`warmup_epochs` must be fewer than the {self.epochs} `epochs`")
        return self
