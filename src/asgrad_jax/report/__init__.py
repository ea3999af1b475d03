"""What is kept of a sweep for people: tables, figures, verdicts and one page."""
