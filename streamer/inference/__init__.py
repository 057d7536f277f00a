"""Stage 2: models, sessions and the detector."""
