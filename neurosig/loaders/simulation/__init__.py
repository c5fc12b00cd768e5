"""The physics behind `neurosig.loaders.simulated`: head, people, tasks, noise and artifacts, one file each."""
