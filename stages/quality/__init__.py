"""How far a box can be trusted where nobody says what is right."""
