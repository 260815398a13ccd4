"""By which names a class is bona fide, in lists, keys and models alike; letter case does not count."""

BONAFIDE_NAMES = ("bonafide", "bona-fide", "bona_fide", "genuine", "real", "human")
