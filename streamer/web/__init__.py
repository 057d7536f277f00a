"""The HTTP door: metrics, the live view and its page."""
