"""What labels mean, in tables, lists, keys, spans and models alike; letter case does not count."""

BONAFIDE_NAMES = ("bonafide", "bona-fide", "bona_fide", "bona fide", "genuine", "real", "human", "original",
                  "authentic")
SPOOF_NAMES = ("spoof", "spoofed", "fake", "deepfake", "ai", "ai-generated", "synthetic", "generated", "machine", "tts",
               "vc")
