"""A page for people who do not type: jobs on disk, one worker, and the page in front of them."""
