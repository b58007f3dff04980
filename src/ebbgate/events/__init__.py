"""What happened: frozen records, their journal, and the verdict that follows from them."""
