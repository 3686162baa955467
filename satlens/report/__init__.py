"""The report: results in, tables, figures and one self-contained page out. Nothing is computed here."""
