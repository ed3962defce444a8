"""The stages of a run, in order; each is skipped when done and resumable when not."""
