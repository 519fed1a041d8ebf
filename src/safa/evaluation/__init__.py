"""Measuring methods on data sets as the literature does it, and looking at what the network decides."""
