"""The web page: its jobs on disk, the worker that runs them, the API, and the page itself."""
