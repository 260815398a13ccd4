"""Kinds of recordings, by the suffixes of their files."""

import os

AUDIO_SUFFIXES = ("wav", "flac", "ogg", "opus", "mp3", "aif", "aiff", "au", "caf", "w64", "rf64", "sph")  # libsndfile's
# Those that need ffmpeg -> what it calls the format.
FORMATS = {**dict.fromkeys(("m4a", "m4b", "mp4", "mov", "3gp"), "mov"),
           **dict.fromkeys(("webm", "mkv", "mka"), "matroska"),
           **dict.fromkeys(("wma", "wmv"), "asf"), **dict.fromkeys(("mpg", "mpeg"), "mpeg"),
           "aac": "aac", "ac3": "ac3", "amr": "amr", "avi": "avi", "flv": "flv", "ts": "mpegts"}


def kind_of(path: str | os.PathLike) -> str:
    """
    >>> kind_of("a/b.c.WAV"), kind_of("a.b/c")
    ('wav', '')
    """
    return os.path.splitext(os.fsdecode(path))[1].lower().lstrip(".")


def needs_ffmpeg(path: str | os.PathLike) -> bool:
    return kind_of(path) in FORMATS


def is_audio(path: str | os.PathLike) -> bool:
    """Of a kind that may be heard, by libsndfile or by ffmpeg."""
    return kind_of(path) in AUDIO_SUFFIXES or needs_ffmpeg(path)
