"""Video files in and out: exact times, journalled segments, copied sound, and a check of the result.

Files of the package; each may import those above it (``tests/test_architecture.py``):

    files              suffixes, numbered names, atomic renames, locks, digests
    pipes              standard input and output, named pipes
    colour             matrices, ranges and transfer; mastering display and other side data
    container_patches  Matroska and MP4 fields that FFmpeg does not read or write
    containers         opening a file, choosing its stream, what its headers state
    timestamps         truncated files, splices of the clock, repair of times
    decoding           packets to frames, damage
    filters            cropping and deinterlacing
    info               options for reading, description of a source, transparency
    source             FrameSource, the interface of what frames are read from
    file_source        frames of a video file
    folder_source      frames of a folder of pictures; opening either
    pictures           single pictures: reading, turning, writing
    sampling           a few frames from all over a file
    cuts               scene changes
    windows            the grid of windows on source frames
    schedule           repeated frames, output times, and which pair each output is made from
    probe              blockiness, noise, quantiser, interlacing: what a job decides by
    excerpt            the liveliest part of a file
    codecs             encoders by name and container
    constant_rate      outputs that have one frame rate
    journal            finished segments of a job, from which it goes on
    encoder            options and memory of encoders
    segments           frames to encoded segments
    y4m                YUV4MPEG2 on standard output
    partial_output     the finished beginning of a stopped job
    animation          GIF, WebP and numbered pictures
    audio_stretch      slow motion's sound
    streams            which streams are copied, and copying them
    verify             decoding and checking a finished output
    mux                segments and copied streams to one file
"""
