"""What the three packages make together: the models of today, and checks of the whole."""
