"""The loss of a batch with one task or both, and settings that do not go with what is learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fgcme.data import Tasks
from fgcme.errors import UserError
from fgcme.experiment import TrainingSettings, apply_configuration
from fgcme.model import Output
from fgcme.training.loss import concordance_loss, utterance_losses
from fgcme.training.objective import Objective, require_learnable
from tests import small_corpus
from tests.fgcme.training.test_loss import CLASSES, LABELS, batch, random_logits

NAMES = [f"c{number}" for number in range(CLASSES)]
SCALE = {"valence": (1.0, 5.0), "arousal": (1.0, 5.0)}
RATINGS = torch.tensor([[0.2, 0.9], [0.5, float("nan")], [0.7, 0.1]])


def objective(tasks: Tasks, **training: object) -> Objective:
    return Objective.of(tasks, TrainingSettings.model_validate(training), LABELS.numpy(), torch.device("cpu"))


def test_classes_and_ratings_have_a_head_each_and_their_losses_are_weighted() -> None:
    output, rated = Output(random_logits(3, CLASSES + 2)), replace(batch(), ratings=RATINGS)
    weights = {"classes": 0.5, "ratings": 2.0}
    both = objective(Tasks(NAMES, SCALE), task_weights=weights, label_smoothing=0.1).loss(output, rated, scale=1 / 3)
    of_classes = utterance_losses(
        Output(output.logits[:, :CLASSES]), rated, "cross_entropy", torch.ones(CLASSES), 0.1
    ).mean()
    of_ratings = concordance_loss(output.logits[:, CLASSES:], RATINGS)
    torch.testing.assert_close(both, 0.5 * of_classes + 2 * of_ratings)


def test_ratings_alone_have_no_loss_of_classes() -> None:
    values, rated = random_logits(3, 2), replace(batch(), ratings=RATINGS)
    found = objective(Tasks([], SCALE)).loss(Output(values), rated, scale=1 / 3)
    torch.testing.assert_close(found, concordance_loss(values, RATINGS))


def test_utterances_count_by_the_weights_of_their_classes() -> None:
    balanced = objective(Tasks(NAMES), class_weights="balanced")
    # One utterance each of three classes of four.
    assert balanced.utterance_weights(LABELS.numpy()).tolist() == [0.75] * 3
    assert objective(Tasks([], SCALE)).utterance_weights(np.zeros(2, int)).tolist() == [1, 1]
    # By its raters, half of an utterance is of a class that nobody has.
    shares = np.array([[0.0, 0.5, 0.5, 0.0]])
    assert balanced.utterance_weights(np.array([2]), shares).tolist() == [0.375]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scaling.workers": 2}, "scaling.workers: demo/4class learns valence, arousal, whose concordance"),
        ({"training.loss": "ctc"}, "training.loss ctc: .* answers by classes alone"),
        ({"model.kind": "late_fusion"}, "model.kind late_fusion: .* answers by classes alone"),
        ({"training.augmentation.mixup_alpha": 0.2}, "training.augmentation.mixup_alpha: .*: set it to 0"),
        ({"training.class_weights": "balanced"}, "class_weights .* no classes; leave them out"),
        ({"training.score": "ua"}, "training.score ua: .* no classes; set it to ccc"),
        ({"tune.objective": "wa"}, "tune.objective wa: .* no classes; set it to ccc"),
    ],
)
def test_settings_that_go_with_classes_alone_are_refused(settings: dict[str, object], message: str) -> None:
    experiment = small_corpus.experiment()
    require_learnable(experiment, Tasks([], SCALE))
    with pytest.raises(UserError, match=message):
        require_learnable(apply_configuration(experiment, settings), Tasks([], SCALE))


def test_shares_of_raters_are_learnt_by_cross_entropy_alone() -> None:
    experiment = apply_configuration(small_corpus.experiment(), {"protocol.distribution": "raters"})
    require_learnable(experiment, Tasks(NAMES))
    with pytest.raises(UserError, match=r"training\.loss focal: .* the shares of raters; set it to cross_entropy"):
        require_learnable(apply_configuration(experiment, {"training.loss": "focal"}), Tasks(NAMES))


def test_the_concordance_of_ratings_chooses_nothing_where_none_are_learnt() -> None:
    for setting in ("training.score", "tune.objective"):
        experiment = apply_configuration(small_corpus.experiment(), {setting: "ccc"})
        require_learnable(experiment, Tasks(NAMES, SCALE))
        with pytest.raises(UserError, match=f"{setting} ccc: demo/4class learns no ratings"):
            require_learnable(experiment, Tasks(NAMES))
