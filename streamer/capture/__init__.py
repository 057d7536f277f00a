"""Stage 1: where frames come from, a thread for each camera."""
