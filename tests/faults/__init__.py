"""What fails in the field: cut links, cut power, full disks, killed processes."""
