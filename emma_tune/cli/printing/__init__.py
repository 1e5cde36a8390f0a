"""What the command line prints: tables and lines, without control codes where the output is not a terminal."""
