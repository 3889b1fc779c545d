"""Adapters that other programs trained, written as PEFT folders that speak as those programs have them speak."""
