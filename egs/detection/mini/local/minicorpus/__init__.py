"""Makes the mini corpus: synthetic voices, attacks on them, a shared channel, in the layout of PartialSpoof."""
