"""JAX functional training framework for image CNNs."""
