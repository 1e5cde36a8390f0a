"""What bf16 costs on a CPU: measured once for each kind, and said where a study trains in it and it is slow."""
