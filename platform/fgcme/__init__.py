"""Fine-grained cross-modality excitement for speech emotion recognition. Importing it never imports Ray."""
