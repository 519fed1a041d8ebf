"""Arrays in, arrays out: frames, windows, tiles and memory around the network."""
