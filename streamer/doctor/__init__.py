"""`streamer doctor`: looks at all that streamer needs of this machine, part by part."""
