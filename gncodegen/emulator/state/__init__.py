"""What a launch changes: lanes, memory, machine."""
