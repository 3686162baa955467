"""An audit: when each rank is fixed, and whether in order."""
