"""A plugin with quizzes."""
