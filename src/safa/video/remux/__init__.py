"""The finished segments and the source's other streams, joined into one file."""
