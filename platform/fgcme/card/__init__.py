"""The model card of a registered model: what it is, how well it does, for whom, and how to use it."""

from fgcme.card.figures import Figures, card_figures
from fgcme.card.page import Measured, Subject, model_card, version_description
from fgcme.card.rating_figures import RatingFigures, rating_figures
from fgcme.card.summary import summarise_version, which_training

__all__ = [
    "Figures",
    "Measured",
    "RatingFigures",
    "Subject",
    "card_figures",
    "model_card",
    "rating_figures",
    "summarise_version",
    "version_description",
    "which_training",
]
