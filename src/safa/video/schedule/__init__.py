"""When output frames are shown, and which source frames each is made from."""
