"""Predicting: which recordings are meant, the answers of one, where they are written, and all of them on Ray Data."""
