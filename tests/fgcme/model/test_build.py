"""Models are built as their settings say, from the same initial weights where they share a part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from fgcme.data import has_words, scheme_of
from fgcme.data.batch import SegmentScheme
from fgcme.experiment import ModelKind, ModelSettings, variants
from fgcme.model import Network, build_model
from fgcme.model.recurrent import RaggedLSTM, Wordwise
from tests.fgcme.model.reference_baselines import batch_for, draw_utterance

FRAME_SIZE, VOCABULARY, CLASSES = 40, 20, 4
WITH_BLANK = ("fgcme", "learned_alignment", "ctc_alignment")


def built(seed: int = 0, blank: bool = False, **settings: Any) -> Network:
    torch.manual_seed(seed)
    return build_model(ModelSettings.model_validate(settings), FRAME_SIZE, VOCABULARY, CLASSES, blank)


def weights(network: Network) -> dict[str, Tensor]:
    return network.core.state_dict()


@pytest.mark.parametrize("name", variants.all_variants())
def test_every_named_variant_classifies_a_batch_of_its_segments(name: str) -> None:
    settings = ModelSettings.model_validate(variants.find_variant(name)["model"])
    torch.manual_seed(0)
    # Long, one word, one frame, shorter than a receptive field.
    shapes = [(60, 6), (30, 1), (1, 2), (4, 3)]
    utterances = [draw_utterance(0, *shape, FRAME_SIZE, VOCABULARY, CLASSES) for shape in shapes]
    batch = batch_for(settings, utterances)
    for blank in (False, True) if settings.kind in WITH_BLANK else (False,):
        output = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES, blank)(batch)
        assert output.logits.shape == (4, CLASSES)
        assert output.logits.isfinite().all()
        assert (output.word_logits is not None) == blank
        if output.word_logits is not None:
            assert output.word_logits.shape == (12, CLASSES + 1)


@pytest.mark.parametrize("kind", get_args(ModelKind))
def test_the_seed_decides_the_initial_weights(kind: str) -> None:
    first, same, other = (weights(built(seed, kind=kind)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_building_any_model_draws_the_same_from_the_global_generator() -> None:
    built(kind="fgcme")
    after = torch.rand(3)
    built(kind="late_fusion")
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(0)
    assert not torch.equal(torch.rand(3), after)


def share_weights(first: dict[str, Tensor], other: dict[str, Tensor], prefixes: tuple[str, ...]) -> bool:
    """Whether two models have parameters of these names in common, all of them equal."""
    common = [name for name in first.keys() & other.keys() if name.startswith(prefixes)]
    return bool(common) and all(torch.equal(first[name], other[name]) for name in common)


@pytest.mark.parametrize(
    "settings",
    [
        {"excitement": {"semantic": "none", "acoustic": "none"}},
        {"excitement": {"semantic": "none"}},
        {"excitement": {"driver": "word"}},
        {"excitement": {"reduction_ratio": 4}},
        {"pooling": {"segments": "even"}},
        {"pooling": {"kind": "statistics"}},
        {"fusion": {"readout": "attention"}},
    ],
    ids=str,
)
def test_variants_have_the_same_initial_weights_in_what_they_share(settings: dict[str, Any]) -> None:
    assert share_weights(weights(built()), weights(built(**settings)), ("acoustic", "semantic", "sequence", "classify"))


def test_one_modality_alone_has_the_initial_weights_it_has_in_both() -> None:
    both = weights(built())
    assert share_weights(both, weights(built(modalities="acoustic")), ("acoustic", "classify"))
    assert share_weights(both, weights(built(modalities="semantic")), ("semantic", "classify"))


def test_baselines_have_the_same_initial_weights_in_what_they_share() -> None:
    frames, words = weights(built(kind="acoustic_lstm")), weights(built(kind="semantic_lstm"))
    fused = weights(built(kind="late_fusion"))
    assert all(torch.equal(fused[f"acoustic.{name}"], value) for name, value in frames.items())
    assert all(torch.equal(fused[f"semantic.{name}"], value) for name, value in words.items())
    hops, learned = weights(built(kind="multi_hop_attention")), weights(built(kind="learned_alignment"))
    for name, value in frames.items():
        if name.startswith("encoder"):
            assert torch.equal(hops[name.replace("encoder", "acoustic")], value)
            assert torch.equal(learned[name.replace("encoder", "acoustic.frames")], value)
    embedding = "semantic.embedding.table.weight"
    assert all(torch.equal(weights(built(kind=kind))[embedding], hops[embedding]) for kind in WITH_BLANK)


def test_two_parts_of_a_model_have_different_initial_weights() -> None:
    fused = weights(built(kind="late_fusion", semantic={"embedding": FRAME_SIZE}))
    shapes = [value for name, value in fused.items() if name.endswith("weight_ih_l0")]
    assert shapes[0].shape == shapes[1].shape and not torch.equal(shapes[0], shapes[1])
    assert not torch.equal(fused["acoustic.classify.weight"], fused["semantic.classify.weight"])


def test_the_default_model_has_the_published_sizes() -> None:
    core = built().core
    shapes = [tuple(layer.weight.shape) for layer in core.acoustic.encoder.convolutions]
    assert shapes == [(64, 40, 5), (128, 64, 2), (128, 128, 2)]
    assert core.acoustic.encoder.lookahead == 6
    assert core.semantic.embedding.table.weight.shape == (20, 300)
    assert core.semantic.project.out_features == 256
    lstm = core.sequence.lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.bidirectional) == (512, 256, True)
    assert (core.classify.in_features, core.classify.out_features) == (512, 4)


def test_the_baselines_have_the_published_sizes() -> None:
    frames, words = built(kind="acoustic_lstm").core.encoder.lstm, built(kind="semantic_lstm").core.encoder.lstm
    assert (frames.forwards.input_size, frames.forwards.hidden_size, frames.size) == (40, 256, 512)
    assert (words.lstm.input_size, words.lstm.hidden_size, words.size) == (300, 256, 512)
    assert built(kind="multi_hop_attention").core.classify.in_features == 3 * 512
    assert built(kind="learned_alignment").core.sequence.lstm.input_size == 2 * 512
    positions = built(kind="ctc_alignment").core.acoustic.locate.forwards
    assert (positions.hidden_size, positions.num_layers, positions.bidirectional) == (64 + 1, 2, False)
    assert built(kind="pooled_statistics").core.classify.in_features == 2 * 40 + 300
    assert built(kind="linear_probe").core.classify.in_features == 2 * 40


@pytest.mark.parametrize("kind", ["acoustic_lstm", "learned_alignment", "multi_hop_attention", "late_fusion"])
def test_baselines_take_their_sizes_from_the_settings(kind: str) -> None:
    settings = {"hidden": 8, "stack": 3}
    shapes = {tuple(value.shape) for value in weights(built(kind=kind, baseline=settings)).values()}
    assert (4 * 8, 3 * FRAME_SIZE) in shapes


def test_learned_alignments_take_their_sizes_from_the_settings() -> None:
    core = built(kind="ctc_alignment", baseline={"positions": 5, "stack": 2, "hidden": 6}).core
    assert (core.acoustic.positions, core.acoustic.size, core.semantic.size) == (5, 80, 6)
    assert built(kind="learned_alignment", baseline={"heads": 8}).core.acoustic.heads == 8
    fusion = {"hidden": 6, "readout": "mean", "dropout": 0.5}
    for kind in ("learned_alignment", "ctc_alignment"):
        core = built(kind=kind, fusion=fusion).core
        assert (core.sequence.size, core.readout.kind, core.dropout.p) == (12, "mean", 0.5)


@pytest.mark.parametrize("kind", get_args(ModelKind))
def test_every_model_has_the_dropout_of_words_and_of_the_classifier(kind: str) -> None:
    network = built(kind=kind, semantic={"dropout": 0.25}, fusion={"dropout": 0.5})
    rates = {module.p for module in network.modules() if isinstance(module, nn.Dropout)}
    assert rates - {0.0} == ({0.5} if kind in ("acoustic_lstm", "linear_probe") else {0.25, 0.5})


@pytest.mark.parametrize(("kind", "size"), [("mean_max", 256), ("mean", 128), ("max", 128), ("statistics", 256)])
def test_both_sides_have_the_size_of_the_pooling(kind: str, size: int) -> None:
    core = built(pooling={"kind": kind}).core
    assert core.semantic.project.out_features == size
    assert core.sequence.lstm.input_size == 2 * size


@pytest.mark.parametrize("kind", ["mean", "max", "softmax", "lse", "attention", "statistics"])
def test_models_of_equally_wide_poolings_are_of_one_size_and_start_alike(kind: str) -> None:
    reference = weights(built())
    compared = weights(built(pooling={"kind": kind, "width": "equal"}))
    own = {"acoustic.pooling.query"} if kind == "attention" else set()
    assert compared.keys() - own == reference.keys()
    assert all(torch.equal(compared[name], value) for name, value in reference.items())


def test_the_acoustic_side_is_driven_by_features_or_by_a_table_of_words() -> None:
    assert isinstance(built().core.excite_acoustic.driver, nn.Linear)
    assert isinstance(built(excitement={"driver": "word"}).core.excite_acoustic.driver, nn.Embedding)


@pytest.mark.parametrize(("driver", "acoustic"), [("features", (64, 256)), ("word", (VOCABULARY, 64))])
def test_excitement_has_the_bottleneck_of_the_settings(driver: str, acoustic: tuple[int, int]) -> None:
    core = built(excitement={"reduction_ratio": 4, "driver": driver}).core
    first = [next(side.driver.parameters()) for side in (core.excite_semantic, core.excite_acoustic)]
    assert [tuple(weight.shape) for weight in first] == [(64, 256), acoustic]


def test_pooled_features_have_the_dropout_of_the_settings() -> None:
    acoustic = built(pooling={"dropout": 0.25}).core.acoustic
    rates = {name: module.p for name, module in acoustic.named_modules() if isinstance(module, nn.Dropout)}
    assert rates == {"dropout": 0.25, "encoder.dropout": 0.0}


def test_words_may_be_fused_one_by_one_at_the_width_of_the_lstm() -> None:
    core = built(fusion={"sequence": "wordwise", "hidden": 6}).core
    assert isinstance(core.sequence, Wordwise)
    assert (core.sequence.project.in_features, core.classify.in_features) == (512, 12)


def test_the_acoustic_encoder_has_the_dropout_of_the_settings() -> None:
    encoder = built(acoustic={"dropout": 0.25}).core.acoustic.encoder.train()
    frames = torch.randn(50, FRAME_SIZE)
    assert not encoder(frames).equal(encoder(frames))
    assert encoder.eval()(frames).equal(encoder(frames))


def test_one_modality_alone_has_no_parameter_of_the_other_and_no_excitement() -> None:
    for modality, other in (("acoustic", "semantic"), ("semantic", "acoustic")):
        core = built(modalities=modality).core
        assert getattr(core, other) is None
        assert not any(name.startswith((other, "excite")) for name, _ in core.named_parameters())
        assert core.sequence.lstm.input_size == 256


def test_a_model_trained_by_ctc_has_one_more_class() -> None:
    for kind in WITH_BLANK:
        assert built(kind=kind, blank=True).core.classify.out_features == CLASSES + 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SegmentScheme("words", lookahead=6)),
        ({"acoustic": {"kernels": [3, 3, 1]}, "pooling": {"margin": 4}}, SegmentScheme("words", lookahead=4, margin=4)),
        ({"pooling": {"segments": "even"}}, SegmentScheme("even", lookahead=6)),
        ({"pooling": {"segments": "recording"}}, SegmentScheme("recording", lookahead=6)),
        ({"modalities": "semantic"}, SegmentScheme("none")),
        ({"modalities": "acoustic"}, SegmentScheme("words", lookahead=6)),
        ({"kind": "semantic_lstm"}, SegmentScheme("none")),
        ({"kind": "pooled_statistics", "modalities": "semantic"}, SegmentScheme("none")),
        ({"kind": "pooled_statistics"}, SegmentScheme("recording")),
        ({"kind": "acoustic_lstm"}, SegmentScheme("recording")),
        ({"kind": "linear_probe"}, SegmentScheme("recording")),
        # Kinds that need both modalities ignore the setting.
        ({"kind": "late_fusion", "modalities": "semantic"}, SegmentScheme("recording")),
        ({"kind": "multi_hop_attention"}, SegmentScheme("recording")),
        ({"kind": "learned_alignment", "pooling": {"margin": 3}}, SegmentScheme("recording")),
        ({"kind": "ctc_alignment"}, SegmentScheme("recording")),
    ],
    ids=str,
)
def test_the_settings_decide_which_frames_a_model_reads(settings: dict[str, Any], expected: SegmentScheme) -> None:
    assert scheme_of(ModelSettings.model_validate(settings)) == expected


def test_models_with_a_sequence_of_words_run_a_ragged_lstm_over_it() -> None:
    for kind in WITH_BLANK:
        assert isinstance(built(kind=kind).core.sequence, RaggedLSTM)


@pytest.mark.parametrize("kind", get_args(ModelKind))
@pytest.mark.parametrize("layers", ["mix", "concatenate"])
def test_any_model_takes_several_layers_mixed_or_side_by_side(kind: str, layers: str) -> None:
    settings = ModelSettings.model_validate({"kind": kind, "acoustic": {"layers": layers, "deltas": 1}})
    utterances = [draw_utterance(0, 60, 6, FRAME_SIZE, VOCABULARY, CLASSES)]
    torch.manual_seed(0)
    network = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES, layers=4)
    network(batch_for(settings, utterances)).logits.sum().backward()
    hears = scheme_of(settings).segments != "none"
    assert (network.mix is not None) == (layers == "mix" and hears)
    if network.mix is not None:
        # Each block of 20 values has 4 layers of 5.
        assert network.mix(torch.zeros(1, FRAME_SIZE)).shape == (1, 10)
        assert network.mix.scale.grad is not None and network.mix.weights.grad is not None


def test_standardised_pooled_values_of_several_layers_are_mixed_afterwards() -> None:
    settings = {
        "acoustic": {"channels": [], "kernels": [], "deltas": 1},
        "pooling": {"normalisation": "speaker", "overall": "recording", "dropout": 0.5},
    }
    torch.manual_seed(0)
    network = build_model(ModelSettings.model_validate(settings), FRAME_SIZE, VOCABULARY, CLASSES, layers=4)
    acoustic = network.core.acoustic
    assert network.mix is None
    for segments in (acoustic, acoustic.overall):
        # Values and deltas, each with 4 layers of 5, by two statistics.
        assert segments.standardise.mean.shape == (0, 80) and segments.size == 20
        assert (segments.mix.blocks, len(segments.mix.weights), segments.dropout.p) == (4, 4, 0.5)
    assert acoustic.mix is not acoustic.overall.mix
    assert network.core.semantic.project.out_features == 20
    assert network.core.classify.in_features == 2 * 512


def test_words_alone_are_as_wide_as_beside_an_encoder_s_layers() -> None:
    def width(**settings: Any) -> int:
        model = build_model(ModelSettings.model_validate(settings), FRAME_SIZE, VOCABULARY, CLASSES, layers=4)
        return int(model.core.semantic.project.out_features)

    frames_as_they_are = {"channels": [], "kernels": []}
    assert width(acoustic=frames_as_they_are) == width(acoustic=frames_as_they_are, modalities="semantic") == 20


def test_one_layer_is_built_as_ever() -> None:
    torch.manual_seed(0)
    network = build_model(ModelSettings(), FRAME_SIZE, VOCABULARY, CLASSES, layers=1)
    assert network.mix is None
    plain = built()
    assert plain.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("kind", get_args(ModelKind))
def test_every_model_of_words_reads_a_text_encoder_in_place_of_a_table(kind: str) -> None:
    settings = ModelSettings.model_validate({"kind": kind})
    batch = batch_for(settings, [draw_utterance(0, 30, 4, FRAME_SIZE, VOCABULARY, CLASSES)])
    torch.manual_seed(0)
    model = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES, word_feature_size=6, word_layers=2).eval()
    tables = [name for name, _ in model.named_parameters() if name.endswith("table.weight")]
    one, other = (model(replace(batch, word_features=torch.full((4, 6), float(value)))).logits for value in (1, 2))
    assert not tables and torch.equal(one, other) != has_words(settings)


SMALL_SIDES: dict[str, Any] = {
    "acoustic": {"channels": [6], "kernels": [2]},
    "semantic": {"embedding": 4},
    "baseline": {"hidden": 5, "heads": 2, "stack": 2},
}
SIDES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "fgcme": ({"kind": "fgcme"}, (12, 12)),
    "one modality": ({"kind": "fgcme", "modalities": "acoustic"}, (12,)),
    "one segment": ({"kind": "fgcme", "pooling": {"segments": "recording", "kind": "mean"}}, (6, 6)),
    "learned_alignment": ({"kind": "learned_alignment"}, (10, 10)),
    "ctc_alignment": ({"kind": "ctc_alignment"}, (5, 2 * FRAME_SIZE)),
    "can": ({"kind": "can"}, (4, 12)),
    "no words": ({"kind": "late_fusion"}, ()),
}


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("name", SIDES)
def test_a_model_of_words_gives_what_each_side_says_of_them(name: str, blank: bool) -> None:
    changes, sizes = SIDES[name]
    network = built(blank=blank and changes["kind"] in WITH_BLANK, **SMALL_SIDES, **changes)
    assert network.side_sizes == sizes
    settings = ModelSettings.model_validate({**SMALL_SIDES, **changes})
    shapes = [(12, 4), (9, 2)]
    batch = batch_for(settings, [draw_utterance(0, *shape, FRAME_SIZE, VOCABULARY, CLASSES) for shape in shapes])
    sides = network(batch).sides
    assert [side.shape for side in sides] == [(6, size) for size in sizes]
    assert all(side.requires_grad for side in sides)


@pytest.mark.parametrize("form", ["none", "gate"])
def test_what_a_side_says_is_not_excited_by_the_other(form: str) -> None:
    excitement = {"semantic": form, "acoustic": form}
    network = built(**SMALL_SIDES, excitement=excitement)
    utterance = draw_utterance(0, 12, 4, FRAME_SIZE, VOCABULARY, CLASSES)
    batch = batch_for(ModelSettings.model_validate(SMALL_SIDES), [utterance])
    fused = network.fuse(batch)
    assert torch.equal(fused.features, torch.cat(fused.sides, dim=1)) == (form == "none")
    torch.testing.assert_close(fused.sides[0], network.core.semantic(batch))
