"""What runs a stage, and what becomes of it when it hangs or dies."""
