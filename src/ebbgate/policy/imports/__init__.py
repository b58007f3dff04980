"""Allowlists of other guards, as policies. Pure: text in, text out; nothing of what is read is executed or looked up."""
