"""The demo: the product's own processes on loopback, driven as people would drive them."""
