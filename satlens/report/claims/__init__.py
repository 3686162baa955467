"""Claims: every claim of the papers that was asked, in one table."""
