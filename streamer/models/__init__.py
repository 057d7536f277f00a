"""`streamer models`: what there is, what was fetched, and what each costs here."""
