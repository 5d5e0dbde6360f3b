"""The prepared corpus: Parquet of features, words and their spans, and how one utterance becomes a row of it."""
