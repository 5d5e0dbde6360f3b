"""Alignment by Whisper's attention: small untrained models, and the real Whisper base where it is."""

import json
import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from fgcme import alignment, audio
from fgcme.alignment import AlignmentError
from fgcme.alignment.contract import edge_seconds
from fgcme.alignment.partwise import IN_PARTS
from fgcme.alignment.uniform import TOO_MUCH_TEXT
from fgcme.alignment.whisper import alignment_heads, first_frames
from fgcme.audio import frame_count
from fgcme.errors import UserError
from tests.speech import say
from tests.speech_encoder import WHISPER_BASE

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
TEXT = "open the window before dinner"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small multilingual Whisper whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("whisper")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    tokeniser = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokeniser.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokeniser.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokeniser).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("attention_heads", "layers")}
    config = transformers.WhisperConfig(
        d_model=16,
        num_mel_bins=8,
        vocab_size=len(vocabulary),
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        **sizes,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.save_pretrained(folder)
    generation = {
        "decoder_start_token_id": 1,
        "lang_to_id": {"<|en|>": 2, "<|de|>": 3},
        "task_to_id": {"transcribe": 4},
    }
    (folder / "generation_config.json").write_text(json.dumps({**generation, "no_timestamps_token_id": 5}))
    transformers.WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    return str(folder)


def likeliest(weights: np.ndarray) -> float:
    """The largest sum on any path, by trying all."""
    tokens, frames = weights.shape

    def best(token: int, frame: int) -> float:
        rest = (
            [best(following, frame + 1) for following in (token, token + 1) if following < tokens]
            if (frame + 1 < frames)
            else [0.0 if token == tokens - 1 else -math.inf]
        )
        return float(weights[token, frame]) + max(rest)

    return best(0, 0)


def test_the_path_has_the_largest_sum_of_all() -> None:
    for seed in range(20):
        generator = np.random.default_rng(seed)
        frames = int(generator.integers(4, 10))
        weights = generator.normal(size=(int(generator.integers(1, 5)), frames))
        starts = first_frames(weights)
        token_of = np.searchsorted(starts, np.arange(frames), side="right") - 1
        assert starts[0] == 0 and (np.diff(starts) > 0).all() and token_of[-1] == len(weights) - 1
        assert weights[token_of, np.arange(frames)].sum() == pytest.approx(likeliest(weights))


def test_spans_follow_each_other_within_the_speech(checkpoint: str) -> None:
    samples, _ = say(TEXT)
    silence = np.zeros(16_000, np.float32)
    result = alignment.build("whisper", checkpoint).align("a", np.concatenate([silence, samples, silence]), TEXT)
    assert result.method == "whisper" and result.words == TEXT.split()
    assert all(first < last for first, last in zip(result.begin, result.end, strict=True))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(zip(result.begin, result.end, strict=True)))
    assert (
        90 <= result.begin[0] <= 105 and 100 + samples.size // 160 - 25 <= result.end[-1] <= 105 + samples.size // 160
    )


def test_the_score_is_the_mean_log_probability_of_the_tokens_that_the_decoder_was_told(checkpoint: str) -> None:
    samples, _ = say(TEXT)
    found = alignment.build("whisper", checkpoint, language="de").align("a", samples, TEXT.upper() + "!")
    model = transformers.WhisperForConditionalGeneration.from_pretrained(checkpoint).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(checkpoint)(" " + TEXT, add_special_tokens=False).input_ids
    heard = transformers.WhisperFeatureExtractor.from_pretrained(checkpoint)(
        samples, sampling_rate=16_000, return_tensors="pt", padding=False
    )["input_features"]
    # The encoder hears the recording alone: its table of positions is as long.
    encoder = model.model.encoder
    model.config.max_source_positions = heard.shape[2] // 2
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[: heard.shape[2] // 2])
    with torch.inference_mode():
        logits = model(heard, decoder_input_ids=torch.tensor([[1, 3, 4, 5, *tokens]])).logits[0, 3:-1]
    expected = logits.log_softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)].mean()
    assert found.score == pytest.approx(float(expected), abs=1e-4)


def test_without_named_heads_all_of_the_upper_half_of_the_decoder_count() -> None:
    config = SimpleNamespace(decoder_layers=4, decoder_attention_heads=2)
    assert alignment_heads(SimpleNamespace(), config) == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert alignment_heads(SimpleNamespace(alignment_heads=[[3, 1]]), config) == [(3, 1)]


@pytest.mark.parametrize("text", ["open the window before dinner please " * 30, "a" * 500])
def test_more_text_than_speech_or_than_the_decoder_holds_is_spread_and_flagged(checkpoint: str, text: str) -> None:
    result = alignment.build("whisper", checkpoint).align("a", say("yes")[0], text)
    assert (result.method, result.oddities) == ("uniform", (TOO_MUCH_TEXT,))
    assert len(result.words) == len(text.split())
    assert max(result.end) <= frame_count(say("yes")[0].size)


def test_a_recording_longer_than_whisper_hears_is_aligned_in_parts(checkpoint: str) -> None:
    samples = np.concatenate([say(TEXT)[0], np.zeros(12_000, np.float32)])
    result = alignment.build("whisper", checkpoint).align("a", np.tile(samples, 16), " ".join([TEXT] * 16))
    assert (result.method, result.oddities) == ("whisper", (IN_PARTS,))
    # Whisper is untrained: its words are only in the right part.
    begins = np.array(result.begin).reshape(16, -1)
    assert (np.abs(begins[:, 0] - np.arange(16) * samples.size / 160) < 50).all()


def test_a_text_without_words_is_refused(checkpoint: str) -> None:
    with pytest.raises(AlignmentError) as caught:
        alignment.build("whisper", checkpoint).align("a", say("yes")[0], "...")
    assert caught.value.reason == "no_words"


def test_a_language_that_the_model_does_not_know_is_named_with_those_that_it_knows(checkpoint: str) -> None:
    with pytest.raises(UserError, match=r"alignment\.language xx: .* knows de, en"):
        alignment.build("whisper", checkpoint, language="xx")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"alignment\.checkpoint .*nothing"):
        alignment.build("whisper", str(tmp_path / "nothing"))


@pytest.mark.skipif(not WHISPER_BASE.is_dir(), reason=f"no {WHISPER_BASE}")
def test_whisper_base_finds_english_and_german_words() -> None:
    samples, onsets = say("open the window before dinner please")
    found = alignment.build("whisper", str(WHISPER_BASE)).align("a", samples, "open the window before dinner please")
    assert (
        np.median(np.abs([edge_seconds(edge) - true for edge, (_, true) in zip(found.begin, onsets, strict=True)]))
        < 0.05
    )
    emodb = WHISPER_BASE.parents[1] / "emodb"
    labelled = json.loads((emodb / "words.json").read_text(encoding="utf-8"))
    aligner, errors = alignment.build("whisper", str(WHISPER_BASE), language="de"), []
    # Of speakers on whom nothing was tuned.
    for name in [name for name in sorted(labelled) if name[:2] in ("12", "14", "16")][::20]:
        words = labelled[name]
        found = aligner.align(name, audio.read(emodb / f"{name}.flac"), " ".join(word["word"] for word in words))
        errors += [abs(edge_seconds(edge) - word["start"]) for edge, word in zip(found.begin, words, strict=True)]
    assert np.median(errors) < 0.04
