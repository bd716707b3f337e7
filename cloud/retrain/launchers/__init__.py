"""The ways to start a training job: in a process, in several under torchrun, or on a Ray cluster."""
