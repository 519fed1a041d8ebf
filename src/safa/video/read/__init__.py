"""Video files, folders of pictures and pipes, as frames with exact times."""
