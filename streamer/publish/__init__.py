"""Stage 3: where outcomes go, a thread for each sink."""
