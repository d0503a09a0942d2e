"""Losses: functions of tensors that return a scalar, which a recipe weights and adds up."""
