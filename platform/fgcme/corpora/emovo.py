"""EMOVO: fourteen sentences acted in seven emotions by six actors, Italian.

Source: G. Costantini, I. Iaderola, A. Paoloni and M. Todisco, LREC 2014;
http://voice.fub.it/activities/corpora/emovo/index.html.

A file is `dis-f1-b1`: the first letters of the emotion in Italian, the actor (a woman or a man, and a number), the
sentence. Sentences are short (`b`), long (`l`), nonsense (`n`) or questions (`d`). In the contract's fields:
`raw_label` is the letters of the emotion, `dialog` the sentence; there are no sessions and no acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, find_named

SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}

_OBTAIN = (
    "download it from http://voice.fub.it/activities/corpora/emovo/index.html and unpack it; pass its folder with "
    "--root or in EMOVO_ROOT"
)

SCHEME = NameScheme(
    corpus="EMOVO",
    pattern=r"(?P<name>(?P<emotion>[a-z]{3})-(?P<actor>[a-z]\d)-(?P<sentence>[a-z]\d))",
    example="dis-f1-b1",
    known={
        "emotion": ("dis", "gio", "neu", "pau", "rab", "sor", "tri"),
        "actor": ("f1", "f2", "f3", "m1", "m2", "m3"),
        "sentence": tuple(SENTENCES),
    },
    beside=(".txt", ".pdf"),
    way_out=_OBTAIN,
)


def find(root: Path) -> Listing:
    """List the recordings below `root`, see `find_named`."""
    return find_named(root, SCHEME, _describe)


def _describe(parts: Mapping[str, str], audio: str) -> Utterance:
    sentence = parts["sentence"]
    text, emotion, actor = SENTENCES[sentence], parts["emotion"], parts["actor"]
    return Utterance(parts["name"], audio, text, emotion, actor, dialog=sentence)


CORPUS = Corpus(
    name="emovo",
    title="EMOVO, a corpus of Italian emotional speech",
    language="Italian",
    licence="not stated; made by the Fondazione Ugo Bordoni for research",
    citation="G. Costantini et al., LREC 2014",
    size="588 utterances, 6 speakers, 7 emotions, 30 minutes, as 48 kHz WAV",
    obtain=_OBTAIN,
    find=find,
    sex_of=lambda actor: "female" if actor.startswith("f") else "male",
    expected=Counts(utterances=588, speakers=6),
)
