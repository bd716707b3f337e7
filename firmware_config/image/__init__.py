"""The steps of building a station's image (deploy/Dockerfile.jetson), each a program that also runs outside of one."""
