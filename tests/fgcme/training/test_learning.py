import copy
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from fgcme.data import Batch, RaggedLoader, SpeechCorpus, assign_folds
from fgcme.data.inputs import PartInputs
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from fgcme.experiment import Experiment, apply_configuration, variants
from fgcme.model import EncoderTop, WordEmbedding
from fgcme.model.trained_layers import load_top
from fgcme.seeds import derive_seed
from fgcme.training.cross_modal import CrossModalAlignment
from fgcme.training.learning import Epoch, FoldTrainer, Workers, supports_bfloat16
from fgcme.training.loss import focal
from tests import small_corpus
from tests.fold_training import SMALL, fit, fold_loaders, metrics
from tests.speech_encoder import save_encoder


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    """A corpus whose parts differ in words and in how often each emotion occurs."""
    folder = tmp_path_factory.mktemp("prepared") / "unlike"
    return SpeechCorpus(small_corpus.write(folder, each=16, unlike=True))


@pytest.mark.parametrize("normalisation", ["none", "train", "utterance"])
def test_training_learns_emotions_from_the_words_frames(corpus: SpeechCorpus, normalisation: str) -> None:
    acoustic = {"channels": [8, 8], "kernels": [3, 2], "normalisation": normalisation}
    experiment = small_corpus.experiment(training={"epochs": 12}, model={"acoustic": acoustic})
    training = fit(corpus, experiment)
    losses = [epoch.metrics["train/loss"] for epoch in training.epochs()]
    training.restore_best()
    assert losses[-1] < 0.5 * losses[0]
    assert training.evaluate(training.loaders.test).metrics()["ua"] > 0.45


def test_metrics_follow_from_the_seed(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(model={"fusion": {"hidden": 8, "dropout": 0.2}})
    first, again, other = (metrics(fit(corpus, experiment, seed=seed).epochs()) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "learning", [{}, {"optimiser": "adamw", "weight_decay": 0.1, "warmup_epochs": 2.5, "ema_decay": 0.8}]
)
def test_a_resumed_training_repeats_an_uninterrupted_one(corpus: SpeechCorpus, learning: dict[str, Any]) -> None:
    experiment = small_corpus.experiment(
        training={"epochs": 4, "schedule": "cosine", **learning}, model={"fusion": {"hidden": 8, "dropout": 0.2}}
    )
    undisturbed = fit(corpus, experiment)
    whole = metrics(undisturbed.epochs())
    interrupted = fit(corpus, experiment).epochs()
    next(interrupted)
    state = next(interrupted).state()
    resumed = fit(corpus, experiment, state=state)
    assert metrics(resumed.epochs()) == whole[2:]
    assert resumed.restore_best() == undisturbed.restore_best()
    np.testing.assert_array_equal(
        resumed.evaluate(resumed.loaders.test).logits, undisturbed.evaluate(undisturbed.loaders.test).logits
    )


def test_a_state_is_not_changed_by_later_epochs(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment()
    epochs = fit(corpus, experiment).epochs()
    state = next(epochs).state()
    before = {name: tensor.clone() for name, tensor in state["model"].items()}
    next(epochs)
    assert all(torch.equal(before[name], tensor) for name, tensor in state["model"].items())


def test_the_best_epoch_is_the_one_with_the_highest_dev_score(corpus: SpeechCorpus) -> None:
    training = fit(corpus, small_corpus.experiment(training={"epochs": 6, "score": "ua"}))
    epochs = list(training.epochs())
    scores = [epoch.metrics["dev/score"] for epoch in epochs]
    assert training.restore_best() == int(np.argmax(scores)) + 1
    assert training.best_score == max(scores)
    assert training.evaluate(training.loaders.dev).metrics()["ua"] == max(scores)
    assert [epoch.best for epoch in epochs] == [
        score > max(scores[:index], default=-1) for index, score in enumerate(scores)
    ]


def test_vocabulary_and_statistics_come_from_the_training_part_alone(unlike: SpeechCorpus) -> None:
    acoustic = {"channels": [8, 8], "kernels": [3, 2], "normalisation": "train"}
    loaders = fold_loaders(unlike, small_corpus.experiment(model={"acoustic": acoustic}))
    train_words = {word for index in loaders.train.utterances for word in unlike.words[index]}
    assert set(loaders.vocabulary.words) == train_words < {word for words in unlike.words for word in words}
    frames = np.concatenate([unlike.frames(index) for index in loaders.train.utterances])
    np.testing.assert_allclose(loaders.mean, frames.mean(0), rtol=1e-3, atol=1e-5)


UNBALANCED = {
    "name": "unbalanced",
    "labels": {"neutral": "calm", "sad": "calm", "happy": "happy", "angry": "angry"},
    "folds": 4,
}
# Other speeds make utterances of other lengths.
RAGGED = {"speed": 0.2}
SHARED: dict[str, dict[str, dict[str, Any]]] = {
    "cross-entropy by class": {
        "protocol": UNBALANCED,
        "training": {"class_weights": "balanced", "label_smoothing": 0.1, "augmentation": RAGGED},
    },
    "focal loss by class": {
        "protocol": UNBALANCED,
        "training": {"loss": "focal", "class_weights": "balanced", "augmentation": RAGGED},
    },
    "CTC": {"training": {"loss": "ctc", "augmentation": RAGGED}},
    "several decisions": {
        "protocol": UNBALANCED,
        "model": {**SMALL, "kind": "late_fusion"},
        "training": {"class_weights": "balanced", "augmentation": RAGGED},
    },
    "a loss of the model's own": {
        "protocol": UNBALANCED,
        "model": {**SMALL, "kind": "ctc_alignment"},
        "training": {"class_weights": "balanced", "augmentation": RAGGED},
    },
    "attention over frames": {
        "model": {**SMALL, "kind": "learned_alignment"},
        "training": {"loss": "ctc", "augmentation": RAGGED},
    },
}
# Each worker compares the utterances of its own share, so their gradients are no one's alone.
ALIGNED: dict[str, dict[str, Any]] = {
    "protocol": UNBALANCED,
    "model": SMALL,
    "training": {
        "class_weights": "balanced",
        "augmentation": RAGGED,
        "cross_modal_alignment": {"distribution": 1.0, "instance": 1.0},
    },
}
# Shared as five and four; and a batch that the second worker has no share of.
BATCHES = [np.arange(9), np.array([4])]
# 64 utterances in batches of 9 leave such a batch at the end of an epoch.
TRAINED_TOGETHER = {"epochs": 2, "batch_size": 9, "ema_decay": 0.5}

Gradients = list[dict[str, Tensor]]


def gradients(training: FoldTrainer) -> Gradients:
    """The gradients of each batch, by name of the parameter."""
    return [one_gradient(training, positions) for positions in BATCHES]


def one_gradient(training: FoldTrainer, positions: np.ndarray) -> dict[str, Tensor]:
    training.model.train().zero_grad()
    training.loss(positions, seed=1).backward()  # type: ignore[no-untyped-call]
    return {name: tensor.grad.clone() for name, tensor in training.model.named_parameters()}


def work_together(rank: int, count: int, folder: Path) -> None:
    """Train as one of several processes, as Ray Train's workers do, and save gradients, metrics and logits."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=count)

    def gather(value: Any) -> list[Any]:
        everyone: list[Any] = [None] * count
        torch.distributed.all_gather_object(everyone, value)
        return everyone

    workers = Workers(rank, count, wrap=partial(DistributedDataParallel, broadcast_buffers=False), gather=gather)
    corpus = SpeechCorpus(folder / "corpus")
    shared = {
        name: gradients(fit(corpus, small_corpus.experiment(**sections), workers=workers))
        for name, sections in SHARED.items()
    }
    aligned = gradients(fit(corpus, small_corpus.experiment(**ALIGNED), workers=workers))
    learnt = {}
    for name in ("corpus", "copied"):
        training = fit(SpeechCorpus(folder / name), small_corpus.experiment(training=TRAINED_TOGETHER), workers=workers)
        learned = metrics(training.epochs())
        learnt[name] = learned, *(ask(training.loaders.test).logits for ask in (training.evaluate, training.answer))
    torch.save({"gradients": shared, "aligned": aligned, "learnt": learnt}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of two workers that train together, by rank."""
    folder = tmp_path_factory.mktemp("together")
    small_corpus.write(folder / "corpus", each=16)
    small_corpus.write(folder / "copied", each=16, copies=[0.9, 1.1])
    torch.multiprocessing.spawn(work_together, (2, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("name", SHARED)
def test_two_workers_have_the_gradients_of_one(corpus: SpeechCorpus, together: list[dict[str, Any]], name: str) -> None:
    alone = gradients(fit(corpus, small_corpus.experiment(**SHARED[name])))
    for worker in together:
        torch.testing.assert_close(worker["gradients"][name], alone, rtol=1e-5, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in alone[0].values()) > 1e-2


def test_two_workers_align_their_own_shares_of_a_batch(corpus: SpeechCorpus, together: list[dict[str, Any]]) -> None:
    aligned = fit(corpus, small_corpus.experiment(**ALIGNED))
    training = {name: value for name, value in ALIGNED["training"].items() if name != "cross_modal_alignment"}
    plain = fit(corpus, small_corpus.experiment(**{**ALIGNED, "training": training}))
    for batch, (positions, of_classes) in enumerate(zip(BATCHES, gradients(plain), strict=True)):
        expected = {name: gradient.clone() for name, gradient in of_classes.items()}
        for own in (positions[0::2], positions[1::2]):
            if len(own):
                alone, without = (one_gradient(trainer, own) for trainer in (aligned, plain))
                for name in expected:
                    expected[name] += len(own) / len(positions) * (alone[name] - without[name])
        for worker in together:
            torch.testing.assert_close(worker["aligned"][batch], expected, rtol=1e-5, atol=1e-5)
        # The second batch is one utterance, which has nobody to be told from.
        changed = max(float((expected[name] - of_classes[name]).abs().max()) for name in expected)
        assert (changed > 1e-3) == (batch == 0)


@pytest.mark.parametrize("name", ["corpus", "copied"])
def test_two_workers_learn_the_same_as_one(
    request: pytest.FixtureRequest, together: list[dict[str, Any]], name: str
) -> None:
    alone = fit(request.getfixturevalue(name), small_corpus.experiment(training=TRAINED_TOGETHER))
    expected = metrics(alone.epochs())
    logits = alone.evaluate(alone.loaders.test).logits
    for worker in together:
        for mine, theirs in zip(worker["learnt"][name][0], expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-3)
        np.testing.assert_allclose(worker["learnt"][name][1], logits, atol=1e-3)
        # Shared utterance by utterance, the last bits apart.
        np.testing.assert_allclose(worker["learnt"][name][2], worker["learnt"][name][1], atol=1e-5)
        np.testing.assert_array_equal(worker["learnt"][name][2], together[0]["learnt"][name][2])


@pytest.mark.parametrize("name", variants.all_variants())
def test_every_parameter_of_a_variant_takes_part_in_its_loss(corpus: SpeechCorpus, name: str) -> None:
    # Workers that average gradients would wait forever for a missing one.
    settings: dict[str, Any] = copy.deepcopy(SMALL)
    variants.merge(settings, variants.find_variant(name)["model"])
    losses = ["cross_entropy"]
    if settings["kind"] in ("fgcme", "learned_alignment", "ctc_alignment"):
        losses.append("ctc")
    for loss in losses:
        training = fit(corpus, small_corpus.experiment(model=settings, training={"loss": loss}))
        training.loss(np.arange(4), seed=0).backward()  # type: ignore[no-untyped-call]
        assert not [name for name, parameter in training.model.named_parameters() if parameter.grad is None]


def test_an_evaluation_keeps_the_order_of_the_part(corpus: SpeechCorpus) -> None:
    training = fit(corpus, small_corpus.experiment())
    evaluation = training.evaluate(training.loaders.test)
    labels = assign_folds(named_protocols()["demo/4class"], corpus.table).labels
    assert evaluation.labels.tolist() == labels[training.loaders.test.utterances].tolist()
    # One by one, whatever else is in a batch.
    batches = (training.loaders.test.batch(np.array([each])) for each in range(len(labels) // 4))
    with torch.no_grad():
        alone = [training.model(batch).logits for batch in batches]
    np.testing.assert_allclose(evaluation.logits, torch.cat(alone), atol=1e-5)
    # An answer is that, to the last bit.
    answered = training.answer(training.loaders.test)
    np.testing.assert_array_equal(answered.logits, torch.cat(alone))
    assert answered.labels.tolist() == evaluation.labels.tolist()


def test_class_weights_and_label_smoothing_match_torch(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(
        protocol=UNBALANCED, training={"class_weights": "balanced", "label_smoothing": 0.1}
    )
    training = fit(corpus, experiment)
    train = training.loaders.train
    # Half of the training part is calm.
    weights = torch.tensor(
        [{"calm": 2 / 3, "happy": 4 / 3, "angry": 4 / 3}[name] for name in training.loaders.tasks.classes]
    )
    positions = np.arange(7)
    batch = train.batch(positions)
    expected = functional.cross_entropy(training.model(batch).logits, batch.labels, weights, label_smoothing=0.1)
    torch.testing.assert_close(training.loss(positions, seed=0), expected)


def test_a_model_trained_by_ctc_is_evaluated_without_the_blank(corpus: SpeechCorpus) -> None:
    training = fit(corpus, small_corpus.experiment(training={"loss": "ctc", "epochs": 6}))
    losses = [epoch.metrics["train/loss"] for epoch in training.epochs()]
    assert losses[-1] < 0.7 * losses[0]
    assert training.evaluate(training.loaders.test).logits.shape == (32, 4)


@pytest.mark.skipif(not supports_bfloat16(torch.device("cpu")), reason="this CPU has no bfloat16")
def test_bfloat16_learns_like_float32_and_evaluates_in_float32(corpus: SpeechCorpus) -> None:
    exact = fit(corpus, small_corpus.experiment(training={"epochs": 2}))
    half = fit(corpus, small_corpus.experiment(training={"epochs": 2, "precision": "bfloat16"}))
    expected, found = ([epoch["train/loss"] for epoch in metrics(one.epochs())] for one in (exact, half))
    assert found == pytest.approx(expected, rel=0.02)
    assert found != expected
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}
    exact.model.load_state_dict(half.model.state_dict())
    np.testing.assert_array_equal(half.evaluate(half.loaders.dev).logits, exact.evaluate(exact.loaders.dev).logits)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this GPU may have bfloat16")
def test_bfloat16_is_refused_where_a_gpu_lacks_it(corpus: SpeechCorpus) -> None:
    with pytest.raises(UserError, match=r"training\.precision: this GPU has no bfloat16; set it to float32"):
        fit(
            corpus,
            small_corpus.experiment(training={"precision": "bfloat16"}),
            workers=Workers(device=torch.device("cuda")),
        )


@pytest.mark.skipif(supports_bfloat16(torch.device("cpu")), reason="this CPU has bfloat16")
def test_bfloat16_is_refused_where_a_cpu_lacks_it(corpus: SpeechCorpus) -> None:
    with pytest.raises(UserError, match=r"training\.precision: this CPU has no bfloat16; set it to float32"):
        fit(corpus, small_corpus.experiment(training={"precision": "bfloat16"}))


def test_augmentation_differs_in_each_epoch_and_is_the_same_when_resumed(corpus: SpeechCorpus) -> None:
    augmentation = {
        "speed": 0.1,
        "noise": 0.5,
        "time_masks": 1,
        "frequency_masks": 1,
        "frequency_width": 2,
        "mixup_alpha": 0.4,
    }
    experiment = small_corpus.experiment(training={"augmentation": augmentation, "learning_rate": 1e-30})
    whole = metrics(fit(corpus, experiment).epochs())
    # Nothing is learnt, so only augmentation changes the loss.
    assert len({epoch["train/loss"] for epoch in whole}) == len(whole)
    interrupted = fit(corpus, experiment).epochs()
    resumed = fit(corpus, experiment, state=next(interrupted).state())
    assert metrics(resumed.epochs()) == whole[1:]


@pytest.mark.parametrize("batch_size", [8, 64])
def test_a_diverging_training_ends_with_a_way_out(corpus: SpeechCorpus, batch_size: int) -> None:
    # With one batch an epoch, the loss is still finite; the weights after the step are not.
    settings = {"learning_rate": 1e30, "batch_size": batch_size}
    training = fit(corpus, small_corpus.experiment(training=settings))
    with pytest.raises(UserError, match=r"not a number after epoch 1: lower training\.learning_rate or set training"):
        next(training.epochs())
    assert training.best_score == -np.inf


@pytest.mark.parametrize("kind", ["fgcme", "late_fusion", "multi_hop_attention", "pooled_statistics"])
def test_every_model_of_words_starts_from_the_vectors_it_is_given(
    unlike: SpeechCorpus, tmp_path: Path, kind: str
) -> None:
    """Those of words that the training part lacks as well: each speaker says a word that no other says."""
    path = tmp_path / "vectors.txt"
    path.write_text("green 0.5 -1 0.25\nnever 1 2 3\n" + "".join(f"word{n} {n} 0 1\n" for n in range(8)))
    settings = {**SMALL, "kind": kind, "semantic": {"embedding": 3, "vectors": str(path)}}
    training = fit(unlike, small_corpus.experiment(model=settings))
    (embedding,) = (module for module in training.model.modules() if isinstance(module, WordEmbedding))
    vocabulary = training.loaders.vocabulary
    assert 0 < len(vocabulary.given) < 8
    words = ["green", *(f"word{n}" for n in range(8))]
    embedded = embedding.eval()(torch.from_numpy(vocabulary.index(words)))
    assert embedded.tolist() == [[0.5, -1, 0.25], *([n, 0, 1] for n in range(8))]
    list(training.epochs())


def train_logits(training: FoldTrainer) -> tuple[Tensor, Tensor]:
    """Logits and labels of the whole training part, in one batch."""
    train = training.loaders.train
    batch = train.batch(np.arange(len(train.utterances)))
    with torch.no_grad():
        return training.model.eval()(batch).logits, batch.labels


def test_class_weights_come_from_the_training_part_alone(unlike: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"class_weights": "balanced"})
    training = fit(unlike, experiment)
    train = training.loaders.train
    counts = np.bincount(train.labels)
    everyone = np.bincount(assign_folds(named_protocols()["demo/4class"], unlike.table).labels)
    assert np.abs(counts / counts.sum() - everyone / everyone.sum()).max() > 0.01
    weights = torch.from_numpy(len(train.labels) / (4 * counts)).float()
    positions = np.arange(len(train.labels))
    logits, labels = train_logits(training)
    expected = functional.cross_entropy(logits, labels, weights)
    torch.testing.assert_close(training.loss(positions, seed=0).detach(), expected, rtol=1e-5, atol=1e-6)


def test_the_train_loss_of_an_epoch_is_the_weighted_mean_over_the_training_part(unlike: SpeechCorpus) -> None:
    # Nothing is learnt, so the loss of every batch is that of the initial weights.
    settings = {"class_weights": "balanced", "learning_rate": 1e-30, "batch_size": 7, "epochs": 1}
    training = fit(unlike, small_corpus.experiment(protocol=UNBALANCED, training=settings))
    logits, labels = train_logits(training)
    weights = len(labels) / (3 * torch.bincount(labels))
    losses = functional.cross_entropy(logits, labels, reduction="none")
    expected = float((weights[labels] * losses).sum() / weights[labels].sum())
    (epoch,) = training.epochs()
    assert epoch.metrics["train/loss"] == pytest.approx(expected, rel=1e-5)
    # The mean over utterances, or of the batches' means, is another number.
    assert abs(float(losses.mean()) - expected) > 1e-3
    plan = training.loaders.train.plan(derive_seed(0, 0))
    by_batch = [float((weights[labels] * losses)[own].sum() / weights[labels][own].sum()) for own in plan]
    by_count = np.average(by_batch, weights=[len(own) for own in plan])
    assert abs(by_count - expected) > 1e-4


def learning_rates(epochs: Iterator[Epoch]) -> list[float]:
    """The learning rate of each epoch's last step."""
    return [epoch.state()["optimiser"]["param_groups"][0]["lr"] for epoch in epochs]


def test_a_cosine_schedule_goes_from_the_learning_rate_to_0_once(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"schedule": "cosine", "epochs": 4, "learning_rate": 0.02})
    training = fit(corpus, experiment)
    steps = len(training.loaders.train)
    last_steps = steps * np.arange(1, 5) - 1
    expected = 0.02 * 0.5 * (1 + np.cos(np.pi * last_steps / (4 * steps)))
    epochs = training.epochs()
    first = next(epochs)
    state = first.state()
    assert learning_rates(iter([first])) + learning_rates(epochs) == pytest.approx(expected.tolist())
    assert learning_rates(fit(corpus, experiment, state=state).epochs()) == pytest.approx(expected[1:].tolist())


def test_a_constant_schedule_stays_at_the_learning_rate(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"learning_rate": 0.02})
    assert learning_rates(fit(corpus, experiment).epochs()) == [0.02] * 3


def test_a_warm_up_rises_over_the_steps_of_its_epochs_whether_resumed_or_not(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"warmup_epochs": 2, "learning_rate": 0.02})
    assert learning_rates(fit(corpus, experiment).epochs()) == pytest.approx([0.01, 0.02, 0.02])
    state = next(fit(corpus, experiment).epochs()).state()
    assert learning_rates(fit(corpus, experiment, state=state).epochs()) == pytest.approx([0.02, 0.02])


def test_averaged_weights_are_what_is_evaluated_and_kept_and_the_steps_stay_the_same(corpus: SpeechCorpus) -> None:
    plain, averaging = (
        fit(corpus, small_corpus.experiment(training={"epochs": 2, "ema_decay": decay})) for decay in (0.0, 0.9)
    )
    states = [list(training.epochs())[-1].state() for training in (plain, averaging)]
    for name, tensor in states[0]["model"].items():
        assert torch.equal(tensor, states[1]["model"][name])
    average = {name.removeprefix("module."): tensor for name, tensor in states[1]["average"].items()}
    assert int(average.pop("n_averaged")) == 2 * len(averaging.loaders.train)
    evaluated = averaging.evaluate(averaging.loaders.test).logits
    assert np.abs(evaluated - plain.evaluate(plain.loaders.test).logits).max() > 1e-3
    plain.model.load_state_dict(average)
    np.testing.assert_array_equal(evaluated, plain.evaluate(plain.loaders.test).logits)
    # Both the best weights and what is left in `model` for whoever keeps it.
    averaging.restore_best()
    best = averaging.evaluate(averaging.loaders.dev).metrics()["ua"]
    averaging.model.load_state_dict(states[1]["best"])
    assert averaging.evaluate(averaging.loaders.dev).metrics()["ua"] == best


def test_a_training_that_resumes_with_averaging_averages_from_there(corpus: SpeechCorpus) -> None:
    state = next(fit(corpus, small_corpus.experiment()).epochs()).state()
    training = fit(corpus, small_corpus.experiment(training={"ema_decay": 0.9}), state=state)
    average = [epoch.state()["average"] for epoch in training.epochs()]
    assert [int(each["n_averaged"]) for each in average] == [
        len(training.loaders.train),
        2 * len(training.loaders.train),
    ]


# One batch an epoch, so that the optimiser's first moments tell the gradient of a single step.
ONE_STEP = {"batch_size": 1000, "epochs": 1}
BETA = 0.9


def first_moments(state: dict[str, Any]) -> list[Tensor]:
    """Adam's running means of the gradients: BETA x the last ones + (1 - BETA) x the step's gradients."""
    return [moments["exp_avg"] for moments in state["optimiser"]["state"].values()]


def stepped(corpus: SpeechCorpus, state: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    """The state after the last epoch of a training."""
    experiment = small_corpus.experiment(training={**ONE_STEP, **training})
    return list(fit(corpus, experiment, state=state).epochs())[-1].state()


def test_gradients_are_clipped_to_the_norm_of_the_settings(corpus: SpeechCorpus) -> None:
    def norm(clip: float | None) -> float:
        moments = torch.cat([moment.ravel() for moment in first_moments(stepped(corpus, gradient_clip=clip))])
        return float(moments.norm()) / (1 - BETA)

    unclipped = norm(None)
    assert unclipped > 0.02
    assert norm(0.01) == pytest.approx(0.01, rel=1e-3)
    # A gradient within the norm stays as it is.
    assert norm(2 * unclipped) == pytest.approx(unclipped, rel=1e-5)


def test_weight_decay_adds_its_share_of_the_weights_to_the_gradients(corpus: SpeechCorpus) -> None:
    initial = fit(corpus, small_corpus.experiment()).model
    plain, decayed = (first_moments(stepped(corpus, weight_decay=decay)) for decay in (0.0, 0.5))
    for weights, before, after in zip(initial.parameters(), plain, decayed, strict=True):
        torch.testing.assert_close(after - before, (1 - BETA) * 0.5 * weights.detach(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("first", "then"), [(0.0, 0.5), (0.5, 0.0), (0.1, 0.5)])
def test_a_resumed_training_has_the_weight_decay_of_its_settings(
    corpus: SpeechCorpus, first: float, then: float
) -> None:
    state = stepped(corpus, weight_decay=first)
    training = fit(corpus, small_corpus.experiment(), state=copy.deepcopy(state))
    weights = [parameter.detach() for parameter in training.model.parameters()]
    resumed, plain = (
        first_moments(stepped(corpus, copy.deepcopy(state), weight_decay=decay, epochs=2)) for decay in (then, 0.0)
    )
    for own, with_decay, without in zip(weights, resumed, plain, strict=True):
        torch.testing.assert_close(with_decay - without, (1 - BETA) * then * own, rtol=1e-3, atol=1e-6)


def test_a_resumed_training_keeps_the_best_epoch_so_far(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"epochs": 5, "learning_rate": 0.02})
    epochs = fit(corpus, experiment).epochs()
    state = [next(epochs) for _ in range(4)][-1].state()
    # Nothing learnt afterwards is better than a score that cannot be reached.
    state["best_score"] = 2.0
    resumed = fit(corpus, experiment, state=copy.deepcopy(state))
    assert [epoch.best for epoch in resumed.epochs()] == [False]
    assert resumed.best_score == 2.0
    assert resumed.restore_best() == state["best_epoch"]
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, state["best"][name])


def test_shares_of_the_workers_are_the_whole(corpus: SpeechCorpus) -> None:
    shares = [Workers(rank, 3).share(np.arange(8)) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(8))
    assert {len(share) for share in shares} == {2, 3}
    assert Workers(2, 3).share(np.arange(2)).tolist() == []
    assert Workers().share([3, 1]) == [3, 1]


def test_a_cpu_has_bfloat16_where_a_recurrent_layer_of_any_size_runs_in_it() -> None:
    def runs(length: int, batch: int, size: int) -> bool:
        with torch.autocast("cpu", torch.bfloat16):
            try:
                torch.nn.LSTM(size, 2 * size)(torch.zeros(length, batch, size))
            except RuntimeError:
                return False
        return True

    assert {runs(7, 3, 16), runs(1, 5, 4)} == {supports_bfloat16(torch.device("cpu"))}


@pytest.mark.parametrize(("kind", "of_wa"), [("published", 0.9), ("wa", 1.0), ("ua", 0.0)])
def test_the_best_epoch_is_chosen_by_the_score_of_the_settings(unlike: SpeechCorpus, kind: str, of_wa: float) -> None:
    training = {"score": kind, "epochs": 2}
    epochs = metrics(fit(unlike, small_corpus.experiment(protocol=UNBALANCED, training=training)).epochs())
    assert any(abs(epoch["dev/wa"] - epoch["dev/ua"]) > 0.01 for epoch in epochs)
    for epoch in epochs:
        assert epoch["dev/score"] == pytest.approx(of_wa * epoch["dev/wa"] + (1 - of_wa) * epoch["dev/ua"])


def test_every_worker_draws_its_own_dropout(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(model={"fusion": {"hidden": 8, "dropout": 0.5}}, training={"epochs": 1})

    def dropped(rank: int) -> Tensor:
        """Whether the first values that a worker's dropout sees are dropped; nobody knows of values that are 0."""
        training = fit(corpus, experiment, workers=Workers(rank, 2))
        (dropout,) = (module for module in training.model.modules() if isinstance(module, nn.Dropout) and module.p)
        seen: list[tuple[Tensor, Tensor]] = []
        dropout.register_forward_hook(lambda _, values, kept: seen.append((values[0], kept)))
        next(training.epochs())
        values, kept = (each.detach().ravel()[:64] for each in seen[0])
        return torch.where(values == 0, torch.nan, (kept == 0).float())

    first, again, second = (dropped(rank) for rank in (0, 0, 1))
    known = ~(first.isnan() | again.isnan() | second.isnan())
    assert known.sum() > 20
    assert (first == again)[known].all()
    assert (first != second)[known].any()


def test_every_epoch_takes_each_utterance_once_in_an_order_of_its_own(
    corpus: SpeechCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = fit(corpus, small_corpus.experiment())
    train = training.loaders.train
    taken: list[int] = []
    make = train.batch

    def watched(positions: np.ndarray, seed: int | None = None) -> Batch:
        taken.extend(positions.tolist())
        return make(positions, seed)

    monkeypatch.setattr(train, "batch", watched)
    orders = []
    for _ in training.epochs():
        orders.append(tuple(taken))
        taken.clear()
    assert [sorted(order) for order in orders] == [list(range(len(train.utterances)))] * 3
    assert len(set(orders)) == 3


def test_a_model_standardises_its_frames_by_the_training_part(corpus: SpeechCorpus) -> None:
    acoustic = {"channels": [8, 8], "kernels": [3, 2], "normalisation": "train"}
    training = fit(corpus, small_corpus.experiment(model={"acoustic": acoustic}))
    frames = np.concatenate([corpus.frames(index) for index in training.loaders.train.utterances])
    assert np.ptp(frames.mean(0)) > 0.05
    standardised = training.model.standardise(torch.from_numpy(frames))
    torch.testing.assert_close(standardised.mean(0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(standardised.std(0), torch.ones(6), rtol=0, atol=1e-2)


def test_a_linear_probe_learns_the_logistic_regression_of_standardised_statistics(corpus: SpeechCorpus) -> None:
    penalty = 0.2
    settings = {"epochs": 120, "learning_rate": 0.1, "schedule": "cosine", "batch_size": 1000, "weight_decay": penalty}
    training = fit(corpus, small_corpus.experiment(model={"kind": "linear_probe"}, training=settings))
    for _ in training.epochs():
        pass
    frames = [corpus.frames(index) for index in training.loaders.train.utterances]
    statistics = np.array([np.concatenate([own.mean(0), own.std(0)]) for own in frames])
    inputs = torch.from_numpy((statistics - statistics.mean(0)) / statistics.std(0)).double()
    labels = torch.from_numpy(training.loaders.train.labels)
    weights = torch.zeros(4, 13, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def logits() -> Tensor:
        return inputs @ weights[:, :12].T + weights[:, 12]

    def step() -> Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(logits(), labels) + penalty / 2 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(step)
    assert float(logits().detach().std()) > 0.3
    torch.testing.assert_close(train_logits(training)[0].double(), logits().detach(), rtol=0, atol=2e-2)


def test_training_without_looking_keeps_the_last_weights_of_as_many_epochs(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"epochs": 4, "schedule": "cosine", "ema_decay": 0.5})
    looking, blind = fit(corpus, experiment), fit(corpus, experiment)
    epochs = looking.epochs()
    next(epochs), next(epochs)
    expected = looking.evaluate(looking.loaders.test).logits
    blind.train(2)
    np.testing.assert_array_equal(blind.evaluate(blind.loaders.test).logits, expected)
    assert blind.restore_best() == 2
    diverging = fit(corpus, small_corpus.experiment(training={"learning_rate": 1e30}))
    with pytest.raises(UserError, match="the loss is not a number after epoch 1"):
        diverging.train(1)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_a_focal_loss_has_the_gamma_of_the_settings(corpus: SpeechCorpus, gamma: float) -> None:
    training = fit(corpus, small_corpus.experiment(training={"loss": "focal", "focal_gamma": gamma}))
    logits, labels = train_logits(training)
    expected = focal(logits, labels, gamma).mean()
    torch.testing.assert_close(training.loss(np.arange(len(labels)), seed=0).detach(), expected, rtol=1e-5, atol=1e-6)


def test_an_epoch_passes_over_originals_and_copies(corpus: SpeechCorpus, copied: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"epochs": 1})
    batches = [len(fit(each, experiment).loaders.train.plan(seed=0)) for each in (corpus, copied)]
    assert batches[1] == 3 * batches[0]


def test_an_utterance_is_counted_once_and_answered_by_the_mean_logits_of_its_recordings(
    corpus: SpeechCorpus, copied: SpeechCorpus
) -> None:
    training = fit(copied, small_corpus.experiment(training={"epochs": 1}))
    next(training.epochs())
    test = training.loaders.test
    evaluation = training.evaluate(test)
    labels = assign_folds(named_protocols()["demo/4class"], corpus.table).labels
    assert evaluation.labels.tolist() == labels[test.utterances].tolist()
    training.model.eval()
    one_by_one = [training.model(test.batch(np.array([position]))).logits for position in range(len(test.inputs))]
    expected = torch.cat(one_by_one).detach().reshape(len(labels) // 4, 3, 4)
    np.testing.assert_allclose(evaluation.logits, expected.mean(1), atol=1e-5)
    assert (expected.mean(1) - expected[:, 0]).abs().max() > 1e-2


def test_a_training_with_copies_resumes_exactly(copied: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(training={"augmentation": {"mixup_alpha": 0.4}})
    whole = metrics(fit(copied, experiment).epochs())
    interrupted = fit(copied, experiment).epochs()
    state = next(interrupted).state()
    assert metrics(fit(copied, experiment, state=state).epochs()) == whole[1:]


def test_copies_change_no_class_weight(unlike: SpeechCorpus, tmp_path: Path) -> None:
    copied = SpeechCorpus(small_corpus.write(tmp_path / "copied", each=16, unlike=True, copies=[0.9, 1.1]))
    experiment = small_corpus.experiment(training={"class_weights": "balanced"})
    plain, three = fit(unlike, experiment), fit(copied, experiment)
    # The original of utterance n is at position 3 n; one batch of originals has the same loss.
    positions = np.arange(8)
    torch.testing.assert_close(three.loss(3 * positions, seed=0), plain.loss(positions, seed=0))


AS_THEY_ARE: dict[str, Any] = {"model.acoustic.channels": [], "model.acoustic.kernels": []}


class TestTrainedLayers:
    """A model that holds the last layer of an encoder, on what enters it and the hidden state below."""

    @pytest.fixture(scope="class")
    def encoded(self, tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
        folder = tmp_path_factory.mktemp("prepared") / "encoded"
        return SpeechCorpus(small_corpus.write(folder, each=4, frame_size=16, layers=2, copies=[0.9]))

    @pytest.fixture(scope="class")
    def top(self, tmp_path_factory: pytest.TempPathFactory) -> EncoderTop:
        return load_top(save_encoder("hubert", tmp_path_factory.mktemp("hubert")), [1, 2], 1)

    def experiment(self, lora_rank: int = 0, **changes: Any) -> Experiment:
        acoustic = {"channels": [8], "kernels": [3], "trained_layers": 1, "lora_rank": lora_rank}
        experiment = small_corpus.experiment(
            prepare={"features": {"kind": "speech_encoder", "checkpoint": "x", "layers": [1, 2]}},
            model={"acoustic": acoustic},
            training={"epochs": 2, "encoder_learning_rate": 1e-3},
        )
        return apply_configuration(experiment, changes)

    @pytest.mark.parametrize("lora_rank", [0, 2])
    def test_training_changes_the_layers_or_lora_s_matrices_alone(
        self, encoded: SpeechCorpus, top: EncoderTop, lora_rank: int
    ) -> None:
        trainer = fit(encoded, self.experiment(lora_rank, **{"training.epochs": 6}), encoder=top)
        assert trainer.model.trained is not None
        before = {name: own.clone() for name, own in trainer.model.trained.named_parameters()}
        losses = [epoch.metrics["train/loss"] for epoch in trainer.epochs()]
        assert losses[-1] < losses[0]
        after = dict(trainer.model.trained.named_parameters())
        changed = {name for name, own in after.items() if not torch.equal(own, before[name])}
        assert changed == {name for name in after if "lora_" in name or not lora_rank}
        # Three hidden states are mixed: both that were prepared, and the one that the layer gives.
        assert trainer.model.mix is not None and len(trainer.model.mix.weights) == 3

    @pytest.mark.parametrize(
        "changes",
        [
            {"model.kind": "acoustic_lstm"},
            {"model.kind": "ctc_alignment", "model.acoustic.layers": "concatenate"},
            {"training.ema_decay": 0.8, "training.augmentation.mixup_alpha": 0.4},
            {"training.augmentation.modality_dropout": 0.5, "training.augmentation.time_masks": 1},
            {**AS_THEY_ARE, "model.pooling.normalisation": "speaker"},
        ],
        ids=str,
    )
    def test_a_resumed_training_repeats_an_uninterrupted_one(
        self, encoded: SpeechCorpus, top: EncoderTop, changes: dict[str, Any]
    ) -> None:
        experiment = self.experiment(2, **changes)
        undisturbed = fit(encoded, experiment, encoder=top)
        whole = metrics(undisturbed.epochs())
        state = next(fit(encoded, experiment, encoder=top).epochs()).state()
        assert metrics(fit(encoded, experiment, encoder=top, state=state).epochs()) == whole[1:]

    def test_what_the_layers_change_is_pooled_in_every_epoch(self, encoded: SpeechCorpus, top: EncoderTop) -> None:
        experiment = self.experiment(**AS_THEY_ARE, **{"model.acoustic.layers": "concatenate"})
        trainer = fit(encoded, experiment, encoder=top)
        assert trainer.model.fixed_pooling is None
        next(trainer.epochs())
        assert not trainer.loaders.train.batch(np.array([0])).pooled
        frozen = apply_configuration(experiment, {"model.acoustic.trained_layers": 0})
        assert fit(encoded, frozen).model.fixed_pooling is not None

    def test_pooled_values_are_standardised_by_their_moments_before_the_layers_are_trained(
        self, encoded: SpeechCorpus, top: EncoderTop
    ) -> None:
        pooling = {"kind": "mean", "normalisation": "train"}
        trainer = fit(encoded, self.experiment(**AS_THEY_ARE, **{"model.pooling": pooling}), encoder=top)
        standardised: list[Tensor] = []
        module = trainer.model.core.acoustic.standardise
        module.register_forward_hook(lambda module, values, out: standardised.append(out.detach()))
        everything = trainer.loaders.train.batch(np.concatenate(trainer.loaders.train.plan(seed=None)))

        def deviations() -> tuple[Tensor, Tensor]:
            """Of the values of what was prepared, and of the state that the layer gives."""
            standardised.clear()
            trainer.model.eval()(everything)
            prepared, given = standardised[0].std(0, unbiased=False).split([32, 16])
            return prepared, given

        for untrained in deviations():
            torch.testing.assert_close(untrained, torch.ones_like(untrained), rtol=0, atol=1e-3)
        for _ in trainer.epochs():
            pass
        prepared, given = deviations()
        torch.testing.assert_close(prepared, torch.ones(32), rtol=0, atol=1e-3)
        assert (given - 1).abs().max() > 1e-2

    def test_a_model_that_hears_nothing_holds_no_layers(self, encoded: SpeechCorpus, top: EncoderTop) -> None:
        trainer = fit(encoded, self.experiment(**{"model.modalities": "semantic"}), encoder=top)
        assert trainer.model.trained is None
        next(trainer.epochs())


class TestCrossModalAlignment:
    """A training with losses that align its sides; see `fgcme.training.cross_modal`."""

    def experiment(self, **changes: Any) -> Experiment:
        weights = {"cross_modal_alignment": {"distribution": 0.5, "instance": 0.5}}
        return apply_configuration(small_corpus.experiment(model=SMALL, training=weights), changes)

    def test_its_losses_are_added_to_those_of_the_classes(self, corpus: SpeechCorpus) -> None:
        aligned = fit(corpus, self.experiment())
        plain = fit(corpus, small_corpus.experiment(model=SMALL))
        positions = np.arange(12)
        texts = torch.from_numpy(aligned.loaders.train.texts(positions))
        assert len(set(texts.tolist())) > 2
        own = CrossModalAlignment.of(aligned.training.cross_modal_alignment, aligned.model.side_sizes, seed=0)
        assert own is not None
        batch = aligned.loaders.train.batch(positions)
        expected = plain.loss(positions, seed=0) + own(aligned.model(batch).sides, batch.word_counts, texts)
        torch.testing.assert_close(aligned.loss(positions, seed=0), expected)

    def test_who_loses_words_or_sound_takes_no_part(self, corpus: SpeechCorpus) -> None:
        losing = {"training.augmentation.modality_dropout": 0.999}
        aligned = fit(corpus, self.experiment(**losing))
        plain = fit(corpus, apply_configuration(small_corpus.experiment(model=SMALL), losing))
        positions = np.arange(12)
        assert set(aligned.loaders.train.texts(positions, seed=0)) == {-1}
        torch.testing.assert_close(aligned.loss(positions, seed=0), plain.loss(positions, seed=0))

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"training.augmentation.modality_dropout": 0.5, "training.ema_decay": 0.8},
            {"training.gradient_clip": 1.0, "training.augmentation.mixup_alpha": 0.4},
            {"model.kind": "can"},
            {"model.kind": "ctc_alignment", "training.loss": "ctc"},
            {"model.kind": "learned_alignment"},
        ],
        ids=str,
    )
    def test_a_resumed_training_repeats_an_uninterrupted_one(
        self, corpus: SpeechCorpus, changes: dict[str, Any]
    ) -> None:
        experiment = self.experiment(**changes)
        whole = metrics(fit(corpus, experiment).epochs())
        state = next(fit(corpus, experiment).epochs()).state()
        assert metrics(fit(corpus, experiment, state=state).epochs()) == whole[1:]

    def test_the_model_that_is_kept_has_none_of_its_parts(self, corpus: SpeechCorpus) -> None:
        aligned, plain = fit(corpus, self.experiment()), fit(corpus, small_corpus.experiment(model=SMALL))
        start, other = aligned.model.state_dict(), plain.model.state_dict()
        assert all(torch.equal(other[name], weights) for name, weights in start.items())
        for trainer in (aligned, plain):
            for _ in trainer.epochs():
                pass
            trainer.restore_best()
        kept, without = aligned.model.state_dict(), plain.model.state_dict()
        assert kept.keys() == without.keys()
        assert not all(torch.equal(kept[name], without[name]) for name in kept)

    def test_its_parts_are_learnt_with_the_rest(self, corpus: SpeechCorpus) -> None:
        first, last = (
            epoch.state()["alignment"] for epoch in fit(corpus, self.experiment(**{"training.epochs": 2})).epochs()
        )
        assert first.keys() == last.keys() and len(first) == 26
        assert [name for name in first if torch.equal(first[name], last[name])] == []

    def test_gradients_are_clipped_together(self, corpus: SpeechCorpus) -> None:
        trainer = fit(corpus, self.experiment(**{"training.gradient_clip": 1e-3}))
        next(trainer.epochs())
        norm = torch.stack([own.grad.norm() for own in trainer.model.parameters() if own.grad is not None]).norm()
        assert 1e-5 < norm < 0.99e-3

    def test_emotions_are_learnt_all_the_same(self, corpus: SpeechCorpus) -> None:
        trainer = fit(corpus, self.experiment(**{"training.epochs": 12}))
        losses = [epoch.metrics["train/loss"] for epoch in trainer.epochs()]
        trainer.restore_best()
        assert losses[-1] < 0.5 * losses[0]
        assert trainer.evaluate(trainer.loaders.test).metrics()["ua"] > 0.45

    def test_a_training_part_that_says_one_thing_is_refused(self, corpus: SpeechCorpus) -> None:
        experiment = self.experiment()
        loaders = fold_loaders(corpus, experiment)
        everyone, labels = loaders.train.inputs, np.zeros(len(corpus), np.int64)
        inputs = PartInputs(corpus, everyone.utterances[:1], labels, everyone.model_input)
        one = dataclasses.replace(loaders, train=RaggedLoader(inputs, 8))
        with pytest.raises(
            UserError, match=r"cross_modal_alignment: all training utterances say the same; leave it out"
        ):
            FoldTrainer(one, experiment.model, experiment.training, seed=0)
