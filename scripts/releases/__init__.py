"""What a release is made of: the dependency sets, their locks, and the release step itself."""
