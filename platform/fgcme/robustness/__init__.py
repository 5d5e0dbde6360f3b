"""How much worse a model answers on recordings and transcripts that are worse than its corpus's."""

from fgcme.robustness.degradation import CLEAN, DEGRADATIONS
from fgcme.robustness.ratings import RatingCondition, rating_cells, summarise_rating_conditions
from fgcme.robustness.table import (
    ROBUSTNESS,
    Condition,
    choose_utterances,
    condition_rows,
    robustness_schema,
    summarise_conditions,
)
from fgcme.robustness.word_errors import WORD_ERROR_RATES, with_word_errors, word_error_title

__all__ = [
    "CLEAN",
    "DEGRADATIONS",
    "ROBUSTNESS",
    "WORD_ERROR_RATES",
    "Condition",
    "RatingCondition",
    "choose_utterances",
    "condition_rows",
    "rating_cells",
    "robustness_schema",
    "summarise_conditions",
    "summarise_rating_conditions",
    "with_word_errors",
    "word_error_title",
]
