"""Training of networks: skorch behind neurosig's own estimators, its callbacks, and batches that never copy a trial."""
