"""What plugin authors test with: small known worlds, and checks that any component must pass."""
