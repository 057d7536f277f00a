"""Arrays in, arrays out: numpy and cv2 only; no threads, no files, no network."""
