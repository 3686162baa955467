"""Policies side by side on documents: fitted, swept, judged, written down."""
