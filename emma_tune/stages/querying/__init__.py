"""How attackers query the defended victim: all at once, or in rounds, with queries selected or crafted."""
