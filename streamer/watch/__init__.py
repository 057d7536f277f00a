"""`streamer watch`: what a publisher says, in a terminal."""
