"""Sources: how samples come from the nodes."""
