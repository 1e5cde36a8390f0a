"""Ray, started here or joined: its head, its nodes, and the room on them."""
