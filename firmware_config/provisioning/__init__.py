"""A fresh machine becomes a station of a plant: from a file with a one-time token, once."""
