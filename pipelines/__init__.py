"""How it is run: one module per stage, each a short story told in the terms of its engine."""
