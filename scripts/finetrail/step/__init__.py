"""What every program does: arguments, digest gate, journal, progress, publishing."""
