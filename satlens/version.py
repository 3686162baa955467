"""The version, said once: packaging, the command line and every settings file read it here."""

__version__ = "0.1.0"
