"""Training dynamics: loss, layers and order through a training."""
