"""Who may speak: the plant's certificates, what revokes them, and what the broker is told of each station."""
