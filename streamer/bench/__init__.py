"""`streamer bench`: how many cameras this machine carries."""
