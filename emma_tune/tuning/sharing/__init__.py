"""What a trial takes of a node, and of the memory of a GPU."""
