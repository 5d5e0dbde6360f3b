"""From a prepared corpus to batches: protocol, folds, what a model hears, augmentation."""
