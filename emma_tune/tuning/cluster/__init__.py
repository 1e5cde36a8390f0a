"""Ray, started here or joined: its head, its nodes, and what they have for trials. No stage runs here."""
