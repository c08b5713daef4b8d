"""Carry out a plan: one transaction across both halves for each step, and recovery."""
