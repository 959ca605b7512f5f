"""Faults planted in the step of training, and whether the certificate finds them."""
