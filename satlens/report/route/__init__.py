"""Token routing: which tokens may skip which blocks, and what it costs."""
