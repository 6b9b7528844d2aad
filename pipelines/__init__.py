"""Jobs: chains of the rooms, one file each."""
