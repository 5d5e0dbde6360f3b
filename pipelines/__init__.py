"""How it is run: one module per stage, each a short story told in the terms of its engine."""

import atexit
import gc

# At the end Python looks three times for cycles in all that torch, Ray and MLflow hold: seconds for each command, and
# for each process of Ray's that ran its tasks. What is frozen is not looked through.
atexit.register(gc.freeze)
