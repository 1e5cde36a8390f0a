"""What is proposed, which task runs next, and what is concluded of a point."""
