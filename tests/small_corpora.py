"""Small trees like those of corpora: every kind of file that a copy has, with empty recordings.

A listing needs names and text files only. `listed` says what some of the utterances are, `extra` are files that spoil a
copy, and `rejected` what becomes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

# Of an utterance: label, speaker, text.
Said = tuple[str, str, str]


@dataclass(frozen=True)
class Tree:
    """A tree: files with their contents, and what a listing of it says.

    Attributes:
        files: path -> content, of a copy without faults.
        listed: id -> label, speaker and text of some utterances.
        extra: path -> content, of files that a listing rejects or reads otherwise.
        rejected: id -> reason, of what is rejected with them.
    """

    files: Mapping[str, str | bytes]
    listed: Mapping[str, Said]
    extra: Mapping[str, str | bytes] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)

    def write(self, root: Path, spoilt: bool = False) -> None:
        """Write the tree, spoilt ones with their extra files."""
        for name, content in {**self.files, **(self.extra if spoilt else {})}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _recordings(*names: str) -> dict[str, str | bytes]:
    return dict.fromkeys((f"{name}.wav" for name in names), b"")


CREMAD = Tree(
    files=_recordings(
        *(
            f"AudioWAV/{actor}_IEO_{emotion}_{'XX' if emotion == 'NEU' else 'HI'}"
            for actor, emotion in product(range(1001, 1092), ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"))
        ),
        "AudioWAV/1040_ITH_SAD_X",
    ),
    listed={
        "1001_IEO_ANG_HI": ("ANG", "1001", "It's eleven o'clock."),
        "1040_ITH_SAD_X": ("SAD", "1040", "I think I have a doctor's appointment."),
    },
    extra=_recordings("AudioWAV/1076_MTI_SAD_XX", "AudioWAV/1092_IEO_SAD_XX", "AudioWAV/1001_QQQ_SAD_XX")
    | {"AudioMP3/1001_IEO_ANG_HI.mp3": b""},
    rejected={
        "1076_MTI_SAD_XX": "known_bad",
        "AudioWAV/1092_IEO_SAD_XX.wav": "not_of_corpus",
        "AudioWAV/1001_QQQ_SAD_XX.wav": "not_of_corpus",
        "AudioMP3/1001_IEO_ANG_HI.mp3": "not_of_corpus",
    },
)

_SAVEE = ("a01", "d01", "f01", "h01", "n01", "n30", "sa01", "su01")
SAVEE = Tree(
    files=_recordings(*(f"{speaker}/{code}" for speaker, code in product(("DC", "JE", "JK", "KL"), _SAVEE)))
    | {
        "Info.txt": "four speakers",
        "sentences.csv": "code,text\n" + "".join(f"{code},say {code}\n" for code in _SAVEE),
    },
    listed={"DC_a01": ("a", "DC", "say a01"), "KL_su01": ("su", "KL", "say su01"), "JE_sa01": ("sa", "JE", "say sa01")},
    extra=_recordings("ALL/DC_a01", "DC/a02", "XX/a01", "DC/q01"),
    # The flat copy comes first.
    rejected={
        "DC_a01": "duplicate",
        "DC/a02.wav": "no_text",
        "XX/a01.wav": "not_of_corpus",
        "DC/q01.wav": "not_of_corpus",
    },
)

_TESS = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
TESS = Tree(
    files=_recordings(
        *(f"{actress}_{emotion}/{actress}_back_{emotion}" for actress, emotion in product(("OAF", "YAF"), _TESS)),
        "OAF_neutral/OA_bite_neutral",
    ),
    listed={
        "OAF_back_ps": ("ps", "OAF", "Say the word back"),
        "OAF_bite_neutral": ("neutral", "OAF", "Say the word bite"),
        "YAF_back_sad": ("sad", "YAF", "Say the word back"),
    },
    extra=_recordings("copy/YAF_sad/YAF_back_sad", "OAF_sad/OA_back_sad", "OAF_sad/OAF_back_bored"),
    rejected={
        "YAF_back_sad": "duplicate",
        "OAF_sad/OA_back_sad.wav": "not_of_corpus",
        "OAF_sad/OAF_back_bored.wav": "not_of_corpus",
    },
)

EMOVO = Tree(
    files=_recordings(
        *(
            f"{actor}/{emotion}-{actor}-{sentence}"
            for actor, emotion, sentence in product(
                ("f1", "f2", "f3", "m1", "m2", "m3"), ("dis", "gio", "neu", "pau", "rab", "sor", "tri"), ("b1", "d2")
            )
        )
    )
    | {"documents/README.txt": "EMOVO"},
    listed={
        "gio-f1-b1": ("gio", "f1", "Gli operai si alzano presto."),
        "tri-m3-d2": ("tri", "m3", "Porti con te quella cosa?"),
    },
    extra=_recordings("f1/gio-f4-b1", "f1/gio-f1-x1", "f1/gioia-f1-b1"),
    rejected=dict.fromkeys(("f1/gio-f4-b1.wav", "f1/gio-f1-x1.wav", "f1/gioia-f1-b1.wav"), "not_of_corpus"),
)

_NEMO = [
    (f"{speaker}_{emotion}_{sentence}", emotion, sentence, speaker)
    for speaker, emotion, sentence in product(
        ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0"),
        ("anger", "fear", "happiness", "neutral", "sadness", "surprised"),
        (1, 13),
    )
]
NEMO = Tree(
    files=_recordings(*(f"samples/{name}" for name, *_ in _NEMO))
    | {
        "README.md": "nEMO",
        "data.tsv": "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        + "".join(
            f"{name}.wav\t{emotion}\t„Zdanie” numer {sentence}.\tzdanie\t        {speaker}\tmale\t23\n"
            for name, emotion, sentence, speaker in _NEMO
        ),
    },
    listed={
        "EB0_anger_13": ("anger", "EB0", "„Zdanie” numer 13."),
        "WR0_surprised_1": ("surprised", "WR0", "„Zdanie” numer 1."),
    },
    extra=_recordings("samples/EB0_anger_91", "samples/QQ0_anger_1"),
    rejected={"samples/EB0_anger_91.wav": "no_text", "samples/QQ0_anger_1.wav": "not_of_corpus"},
)


def _emotale(own: str, other: str) -> Tree:
    speakers, letters = ("001", "003", "004", "005", "017"), "ABHNS"
    return Tree(
        files=_recordings(*(f"audio/{own}_{speaker}_{letter}_5" for speaker, letter in product(speakers, letters)))
        | {
            "sentences.csv": f"code,text\n{own}_5,five times\n{other}_5,cinq fois\n",
            "annotations.csv": "file,a1_A,a1_V,a1_D,a1_cat,a2_A,a2_V,a2_D,a2_cat,gt_emotion\n"
            f"{own}_004_A_5.wav,4.0,1.5,4.5,A,5.0,2.5,,S,A\n",
        },
        listed={f"{own}_004_A_5": ("A", "004", "five times"), f"{own}_017_S_5": ("S", "017", "five times")},
        extra=_recordings(f"audio/{other}_001_A_5", f"audio/{own}_001_X_5", f"audio/{own}_001_A_4"),
        rejected={
            f"audio/{other}_001_A_5.wav": "not_of_corpus",
            f"audio/{own}_001_X_5.wav": "not_of_corpus",
            f"audio/{own}_001_A_4.wav": "no_text",
        },
    )


def _esd(first: int, texts: list[str], encodings: list[str], other: str) -> Tree:
    files: dict[str, str | bytes] = {}
    speakers = [f"{number:04d}" for number in range(first, first + 10)]
    emotions = {"Neutral": 0, "Angry": 350, "Happy": 700, "Sad": 1050, "Surprise": 1400}
    for index, speaker in enumerate(speakers):
        lines = []
        for emotion, before in emotions.items():
            for number, (part, text) in enumerate(zip(("evaluation", "test", "train"), texts, strict=True), start=1):
                name = f"{speaker}_{before + number:06d}"
                lines.append(f"{name}\t{text}\t{emotion}")
                # The last speaker's copy has no folders of parts.
                folder = f"{emotion}/{part}" if index < 9 else emotion
                files[f"{speaker}/{folder}/{name}.wav"] = b""
        files[f"{speaker}/{speaker}.txt"] = "\r\n".join(["", *lines, ""]).encode(encodings[index % len(encodings)])
    return Tree(
        files=files,
        listed={
            f"{speakers[0]}_000351": ("Angry", speakers[0], texts[0]),
            f"{speakers[1]}_001402": ("Surprise", speakers[1], texts[1]),
            f"{speakers[9]}_000003": ("Neutral", speakers[9], texts[2]),
        },
        extra=_recordings(f"{other}/Angry/{other}_000351", f"{speakers[0]}/Bored/{speakers[0]}_000351")
        | _recordings(f"{speakers[0]}/Angry/train/{speakers[0]}_000399"),
        rejected={
            f"{other}/Angry/{other}_000351.wav": "not_of_corpus",
            f"{speakers[0]}/Bored/{speakers[0]}_000351.wav": "not_of_corpus",
            f"{speakers[0]}/Angry/train/{speakers[0]}_000399.wav": "no_text",
        },
    )


_MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
_MELD = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")


def _meld_rows(*rows: str) -> str:
    return _MELD_HEADER + "".join(f"{number},{row}\n" for number, row in enumerate(rows, start=1))


def _meld_part() -> str:
    return _meld_rows(
        *(
            f'"Well, he’s {emotion}.",{"Ross" if number % 2 else "Phoebe"},{emotion},neutral,0,{number},4,7,'
            f'"00:20:{10 + 2 * number},256","0:20:{11 + 2 * number},049"'
            for number, emotion in enumerate(_MELD)
        )
    )


def _meld_files(folder: str) -> dict[str, str | bytes]:
    return {f"{folder}/dia0_utt{number}.{kind}": b"" for number, kind in product(range(7), ("mp4", "wav"))}


MELD = Tree(
    files=_meld_files("train/train_splits")
    | _meld_files("dev/dev_splits_complete")
    | _meld_files("output_repeated_splits_test")
    | {
        "train/train_sent_emo.csv": _meld_part(),
        "dev_sent_emo.csv": _meld_part(),
        "test_sent_emo.csv": _meld_part(),
    },
    listed={
        "train_dia0_utt0": ("anger", "Phoebe", "Well, he’s anger."),
        "test_dia0_utt3": ("joy", "Ross", "Well, he’s joy."),
    },
    extra={
        "train/train_sent_emo.csv": _meld_part()
        + '8,Damaged.,Ross,neutral,neutral,125,3,4,7,"0:01:00,000","0:01:02,000"\n'
        + '9,No sound.,Ross,neutral,neutral,126,0,4,7,"0:01:00,000","0:01:02,000"\n'
        + '10,Who?,Ross,bored,neutral,126,1,4,7,"0:01:00,000","0:01:02,000"\n'
        + '11,,Ross,neutral,neutral,126,2,4,7,"0:01:00,000","0:01:02,000"\n',
        "train/train_splits/dia125_utt3.wav": b"",
        "output_repeated_splits_test/._dia0_utt0.wav": b"",
    },
    rejected={
        "train_dia125_utt3": "known_bad",
        "train_dia126_utt0": "missing_audio",
        "train/train_sent_emo.csv:11": "bad_line",
        "train_dia126_utt2": "no_text",
    },
)

_MSP_HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
_MSP = [
    f"MSP-PODCAST_{podcast:04d}_{turn:04d},{letter},2.2,4.0,2.6,{speaker},Male,{part}"
    for podcast, (speaker, part) in enumerate(
        [("30", "Train"), ("Unknown", "Train"), ("39", "Development"), ("7", "Test1")], start=1
    )
    for turn, letter in enumerate("ACDFHNSUXO")
]
MSP_PODCAST = Tree(
    files={
        "Labels/labels_consensus.csv": _MSP_HEADER + "".join(f"{row.replace(',', '.wav,', 1)}\n" for row in _MSP),
    }
    | _recordings(*(f"Audios/{row.split(',')[0]}" for row in _MSP))
    | {f"Transcripts/{row.split(',')[0]}.txt": f"turn {row.split(',')[0][-4:]}\n" for row in _MSP},
    listed={
        "MSP-PODCAST_0001_0000": ("A", "30", "turn 0000"),
        "MSP-PODCAST_0002_0006": ("S", "unknown-0002", "turn 0006"),
    },
    extra={
        "Labels/labels_consensus.csv": _MSP_HEADER
        + "".join(f"{row.replace(',', '.wav,', 1)}\n" for row in _MSP)
        + "MSP-PODCAST_0009_0001.wav,N,2.2,4.0,2.6,30,Male,Train\n"
        + "MSP-PODCAST_xxxx_xxxx.wav,N,2.2,4.0,2.6,30,Male,Test3\n"
        + "MSP-PODCAST_0009_0002.wav,Q,2.2,4.0,2.6,30,Male,Train\n"
        + "MSP-PODCAST_0009_0003.wav,N,2.2,9.0,2.6,30,Male,Train\n",
        "Transcripts/MSP-PODCAST_0009_0003.txt": "rated nine",
    },
    rejected={
        "MSP-PODCAST_0009_0001": "no_text",
        **{f"Labels/labels_consensus.csv:{line}": "bad_line" for line in (43, 44, 45)},
    },
)

_MSP_WORDS = {"A": "Angry", "C": "Contempt", "D": "Disgust", "F": "Fear", "H": "Happy", "N": "Neutral", "S": "Sad"}
_MSP_WORDS |= {"U": "Surprise", "O": "Other-Bored"}
_MSP_RATERS = "FileName,EmoDetail\n" + "".join(
    f'{row.split(",")[0]}.wav,"WORKER{worker:08d}; {word}; {word},Concerned; A:3.000000; V:4.000000; D:3.000000;"\n'
    for row in _MSP
    for worker, word in enumerate(
        _MSP_WORDS.values() if row.split(",")[1] == "X" else (_MSP_WORDS[row.split(",")[1]],) * 2 + ("Happy",)
    )
)
MSP_PODCAST_RATERS = Tree(
    files=MSP_PODCAST.files | {"Labels/labels_detailed.csv": _MSP_RATERS},
    listed={
        "MSP-PODCAST_0001_0000": ("A;A;H", "30", "turn 0000"),
        "MSP-PODCAST_0002_0008": ("A;C;D;F;H;N;S;U;O", "unknown-0002", "turn 0008"),
    },
    extra=MSP_PODCAST.extra
    | {
        "Labels/labels_consensus.csv": f"{MSP_PODCAST.extra['Labels/labels_consensus.csv']!s}"
        "MSP-PODCAST_0009_0004.wav,N,2.2,4.0,2.6,30,Male,Train\n",
        "Transcripts/MSP-PODCAST_0009_0004.txt": "labelled by nobody",
    },
    rejected={**MSP_PODCAST.rejected, "MSP-PODCAST_0009_0004": "no_label"},
)

TREES: Mapping[str, Tree] = {
    "cremad": CREMAD,
    "meld": MELD,
    "msp_podcast": MSP_PODCAST,
    "msp_podcast_raters": MSP_PODCAST_RATERS,
    "savee": SAVEE,
    "tess": TESS,
    "emovo": EMOVO,
    "nemo": NEMO,
    "esd_english": _esd(11, ["The nine.", "It’s “eggs”.", "I keep, too."], ["utf-8-sig", "utf-16", "utf-8"], "0001"),
    "esd_mandarin": _esd(1, ["打远一看", "他对谁都", "那么友好。"], ["utf-8", "gb18030", "utf-16"], "0011"),
    "emotale_danish": _emotale("DK", "EN"),
    "emotale_english": _emotale("EN", "DK"),
}
