"""Losses: functions of tensors that return a scalar. A recipe weighs and adds them."""
