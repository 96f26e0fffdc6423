"""How far measured figures lay from predicted ones, and what that says of a config that was not measured."""
