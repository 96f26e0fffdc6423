"""How well the clock foretells measured steps, and the fit of its constants."""
