"""What crosses packages: frozen dataclasses and enumerations, without input or output."""
