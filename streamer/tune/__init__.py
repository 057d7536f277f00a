"""`streamer tune`: which settings suit these cameras on this machine."""
