"""Video files in and out: exact times, journalled segments, sound copied untouched, and a proof of the result."""
