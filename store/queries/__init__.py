"""One function per question; SQL that reads lives here and nowhere else."""
