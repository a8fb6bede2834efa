"""Find the cloud in satellite scenes larger than the network's input."""
