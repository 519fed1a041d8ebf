"""Video files in and out: exact times, journalled segments, sound copied untouched, and a check of the result."""
