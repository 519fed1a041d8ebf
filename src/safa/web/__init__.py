"""The web page: jobs on disk, the worker that does them, and the page itself."""
