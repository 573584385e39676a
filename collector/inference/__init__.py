"""What spans say in other words than ours: other conventions, a team's names, other shapes of decisions."""
