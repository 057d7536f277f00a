"""The joints: bounded channels, fans and stages. It knows threads and nothing of video."""
