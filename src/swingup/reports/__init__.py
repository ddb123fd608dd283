"""What a person reads or watches."""
