"""TESS: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

from fgcme.corpora.tess import CORPUS
from fgcme.data.protocol import named_protocols


def test_the_one_misnamed_file_is_of_the_older_actress_and_no_other_is_taken_for_hers(tmp_path: Path) -> None:
    for name in ("OA_bite_neutral", "OA_bite_sad", "OAF_bite_sad"):
        (tmp_path / f"{name}.wav").touch()
    listing = CORPUS.find(tmp_path)
    assert [(each.id, each.speaker, each.audio) for each in listing.utterances] == [
        ("OAF_bite_neutral", "OAF", "OA_bite_neutral.wav"),
        ("OAF_bite_sad", "OAF", "OAF_bite_sad.wav"),
    ]
    assert [each.id for each in listing.rejections] == ["OA_bite_sad.wav"]


def test_two_speakers_make_no_protocol() -> None:
    assert not [name for name in named_protocols() if name.startswith("tess/")]
