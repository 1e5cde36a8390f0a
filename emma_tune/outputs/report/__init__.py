"""The page of a study: `content` reads, `sentences` and `cautions` write, `page.html` shows."""
