"""The examples at the end of ``safa upscale --help``; ``docs/recipes.md`` explains them."""

EXAMPLES = {
    "What it would make, and how long that takes": "safa upscale clip.mp4 -o clip-4x.mp4 --dry-run",
    "An old DVD": "safa upscale dvd.vob -o dvd-2x.mkv --scale 2",
    "A clip from a phone": "safa upscale phone.mp4 -o phone-60.mp4 --scale 2 --fps 60",
    "A recording of a screen": "safa upscale screen.mkv -o screen-2x.mp4 --scale 2 --rate 1 --crf 14 --detail 0",
    "Animation": "safa upscale cartoon.mp4 -o cartoon-4x.mp4 --dedup",
    "A flight of a drone": "safa upscale drone.mp4 -o drone-2x.mp4 --scale 2 --codec h265 --memory 4G",
    "Slow motion": "safa upscale jump.mp4 -o jump-slow.mp4 --slow 4 --rate 4",
    "24 to 60 frames per second, same size": "safa upscale film.mp4 -o film-60.mp4 --fps 60 --scale 1",
    "One part": "safa upscale holiday.mp4 -o part.mp4 --start 1:02.5 --end 1:10",
    "A folder overnight": "safa upscale holidays -o holidays-large --scale 2",
    "Something to watch after Ctrl-C": "safa upscale film.mp4 -o film-60.mp4 --fps 60 --scale 1 --finish",
}


def epilog() -> str:
    """The examples as typer prints them; the mark at the beginning keeps the lines as they are."""
    lines = [f"{what}:\n  {command}" for what, command in EXAMPLES.items()]
    return "\b\nExamples:\n" + "\n".join(lines)
